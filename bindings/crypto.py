"""`crypto.*`: what Web Crypto needs of the host. Stateless: keys come with each operation, and none is kept.

What is short is answered at once; the rest is computed by a few threads, and its CPU time is the event's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from bindings import crypto_algorithms as algorithms
from bindings.arguments import check_count, invalid, parse_int, type_name
from bindings.computing import computed
from bindings.crypto_keys import (
    KEY_BYTES,
    PrivateKey,
    describe,
    jwk_of,
    load_private,
    load_public,
    parse_bytes,
    private_bytes,
    public_bytes,
    raw_of,
    read_key,
    wrong,
)
from model.capabilities import GuestEvent, OperationResult

#: A reply has at most 1 MiB, and so has a call.
DATA_BYTES: Final = 1_000_000
#: Of AES-GCM, at most.
TAG_BYTES: Final = 16
SIGNATURE_BYTES: Final = 1024
#: Up to here a hash or cipher takes less time than a thread's beginning.
_SHORT_BYTES: Final = 64 * 1024


def crypto_digest(event: GuestEvent, lent: object, args: Sequence[object]) -> OperationResult:
    del lent
    check_count("crypto.digest", args, 2, 2, "name, data")
    name, data = args[0], parse_bytes("data", args[1], DATA_BYTES)
    if name not in algorithms.DIGESTS:
        invalid(f"name: {', '.join(algorithms.DIGESTS)} are right")
    return computed(event, len(data) <= _SHORT_BYTES, lambda: algorithms.digest_of(str(name), data))


def crypto_sign(event: GuestEvent, lent: object, args: Sequence[object]) -> OperationResult:
    del lent
    check_count("crypto.sign", args, 3, 3, "algorithm, key, data")
    algorithm, key = _algorithm(args[0]), parse_bytes("key", args[1], KEY_BYTES)
    data = parse_bytes("data", args[2], DATA_BYTES)
    return computed(event, _is_short(algorithm, data), lambda: algorithms.sign(algorithm, key, data))


def crypto_verify(event: GuestEvent, lent: object, args: Sequence[object]) -> OperationResult:
    del lent
    check_count("crypto.verify", args, 4, 4, "algorithm, key, signature, data")
    algorithm, key = _algorithm(args[0]), parse_bytes("key", args[1], KEY_BYTES)
    signature = parse_bytes("signature", args[2], SIGNATURE_BYTES)
    data = parse_bytes("data", args[3], DATA_BYTES)
    # With a public key it takes less than half a millisecond.
    is_short = len(data) <= _SHORT_BYTES
    return computed(event, is_short, lambda: algorithms.verify(algorithm, key, signature, data))


def crypto_encrypt(event: GuestEvent, lent: object, args: Sequence[object]) -> OperationResult:
    del lent
    check_count("crypto.encrypt", args, 3, 3, "algorithm, key, data")
    algorithm, key = _algorithm(args[0]), parse_bytes("key", args[1], KEY_BYTES)
    data = parse_bytes("data", args[2], DATA_BYTES)
    return computed(event, _is_short(algorithm, data), lambda: algorithms.encrypt(algorithm, key, data))


def crypto_decrypt(event: GuestEvent, lent: object, args: Sequence[object]) -> OperationResult:
    del lent
    check_count("crypto.decrypt", args, 3, 3, "algorithm, key, data")
    algorithm, key = _algorithm(args[0]), parse_bytes("key", args[1], KEY_BYTES)
    data = parse_bytes("data", args[2], DATA_BYTES + TAG_BYTES)
    return computed(event, _is_short(algorithm, data), lambda: algorithms.decrypt(algorithm, key, data))


def crypto_derive_bits(event: GuestEvent, lent: object, args: Sequence[object]) -> OperationResult:
    del lent
    check_count("crypto.derive_bits", args, 3, 3, "algorithm, key, bits")
    algorithm, key = _algorithm(args[0]), parse_bytes("key", args[1], KEY_BYTES)
    bits = parse_int("bits", args[2], 0, 8 * algorithms.DERIVED_BYTES)
    if bits % 8:
        invalid(f"bits: {bits}; a multiple of 8 is right")
    return computed(event, algorithm.get("name") == "HKDF", lambda: algorithms.derive(algorithm, key, bits))


def crypto_generate_key(event: GuestEvent, lent: object, args: Sequence[object]) -> OperationResult:
    del lent
    check_count("crypto.generate_key", args, 1, 1, "algorithm")
    algorithm = _algorithm(args[0])
    return computed(event, False, lambda: algorithms.generate(algorithm))


def crypto_import_key(event: GuestEvent, lent: object, args: Sequence[object]) -> OperationResult:
    del lent
    check_count("crypto.import_key", args, 3, 3, "format, key, algorithm")
    algorithm = _algorithm(args[2])
    return computed(event, False, lambda: describe(read_key(str(args[0]), args[1], algorithm)))


def crypto_export_key(event: GuestEvent, lent: object, args: Sequence[object]) -> OperationResult:
    del lent
    check_count("crypto.export_key", args, 3, 3, "format, type, key")
    form, data = str(args[0]), parse_bytes("key", args[2], KEY_BYTES)
    if args[1] not in ("private", "public"):
        invalid('type: "private" and "public" are right')
    return computed(event, False, lambda: _exported(form, args[1] == "private", data))


def _exported(form: str, is_private: bool, data: bytes) -> object:
    key = load_private(data) if is_private else load_public(data)
    match form:
        case "jwk":
            return jwk_of(key)
        case "raw":
            return raw_of(key)
        case "pkcs8" if isinstance(key, PrivateKey):
            return private_bytes(key)
        case "spki" if not isinstance(key, PrivateKey):
            return public_bytes(key)
    raise wrong("format: pkcs8 (of a private key), spki and raw (of a public one) and jwk are right")


def _algorithm(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        invalid(f"algorithm: {type_name(value)}; a map is right")
    return value


def _is_short(algorithm: Mapping[str, Any], data: bytes) -> bool:
    """Symmetric, and not much: a few hundred microseconds at most."""
    return str(algorithm.get("name")).startswith(("HMAC", "AES-")) and len(data) <= _SHORT_BYTES
