"""What the host computes for a worker: cryptography and compression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bindings.compression import FORMATS as COMPRESSIONS
from bindings.compression import OUTPUT_BYTES as DECOMPRESSED_BYTES
from bindings.compression import compression_compress, compression_decompress
from bindings.contract.notes import OperationNotes, Rows
from bindings.crypto import (
    DATA_BYTES,
    TAG_BYTES,
    crypto_decrypt,
    crypto_derive_bits,
    crypto_digest,
    crypto_encrypt,
    crypto_export_key,
    crypto_generate_key,
    crypto_import_key,
    crypto_sign,
    crypto_verify,
)
from bindings.crypto_algorithms import (
    CIPHERS,
    DERIVATIONS,
    DERIVED_BYTES,
    DIGESTS,
    ITERATIONS,
    KEY_PAIRS,
    SIGNATURES,
)
from bindings.crypto_keys import CURVES, LEAST_RSA_BITS, MOST_RSA_BITS
from bindings.crypto_streams import crypto_digest_stream
from model.errors import OperationErrorCode as Code

_HASH = 'hash: "SHA-1" | "SHA-256" | "SHA-384" | "SHA-512"'
_KEYS = (
    "an asymmetric key is PKCS#8 (private) or SubjectPublicKeyInfo (public), both DER; others are as they are"
)
_COMPUTING = (
    (Code.LIMIT_EXCEEDED, "what the host computed for the event has taken the CPU time that the event has"),
    (Code.LOAD_SHED, "too many computations wait for a thread"),
)
_COMPUTING_LIMITS = (f"data {DATA_BYTES} bytes",)
_SEALED = f"data {DATA_BYTES + TAG_BYTES} bytes: AES-GCM's has a tag behind it"
_RSA = f"RSA of {LEAST_RSA_BITS} to {MOST_RSA_BITS} bits; curves {', '.join(CURVES)}"


def _any_of(names: Sequence[str]) -> str:
    return " | ".join(f'"{name}"' for name in names)


CRYPTO: Final[Rows] = (
    (
        OperationNotes(
            "crypto.digest",
            "The hash of bytes. What is short is answered at once, here and in the rows below.",
            (("name", _any_of(DIGESTS)), ("data", "bin")),
            "bin",
            _COMPUTING,
            _COMPUTING_LIMITS,
        ),
        crypto_digest,
    ),
    (
        OperationNotes(
            "crypto.digest_stream",
            "The hash of a stream, or its HMAC. It is computed as the stream comes, which may be of any size.",
            (
                ("name", _any_of(DIGESTS)),
                ("key", "bin | nil: HMAC's, not of MD5"),
                ("stream", "stream id"),
            ),
            "bin",
            (*_COMPUTING, (Code.CLOSED_STREAM, "the stream was closed, or broke off")),
        ),
        crypto_digest_stream,
    ),
    (
        OperationNotes(
            "crypto.sign",
            "Sign bytes.",
            (
                ("algorithm", f"{{name: {_any_of(SIGNATURES)}, {_HASH}, salt_length?: int (RSA-PSS)}}"),
                ("key", "bin"),
                ("data", "bin"),
            ),
            "bin; of ECDSA r and s, each of the curve's size",
            _COMPUTING,
            (*_COMPUTING_LIMITS, _KEYS, _RSA),
        ),
        crypto_sign,
    ),
    (
        OperationNotes(
            "crypto.verify",
            "Whether a signature is one of this key and these bytes.",
            (("algorithm", "as of crypto.sign"), ("key", "bin"), ("signature", "bin"), ("data", "bin")),
            "bool",
            _COMPUTING,
            (*_COMPUTING_LIMITS, _RSA),
        ),
        crypto_verify,
    ),
    (
        OperationNotes(
            "crypto.encrypt",
            "Encrypt bytes.",
            (
                (
                    "algorithm",
                    f"{{name: {_any_of(CIPHERS)}, iv?: bin (AES-GCM, AES-CBC), additional_data?: bin and tag_length?: "
                    "int (AES-GCM), counter?: bin and length?: int (AES-CTR), hash? and label?: bin (RSA-OAEP)}",
                ),
                ("key", "bin"),
                ("data", "bin"),
            ),
            "bin; of AES-GCM with the tag behind it",
            _COMPUTING,
            (*_COMPUTING_LIMITS, _RSA),
        ),
        crypto_encrypt,
    ),
    (
        OperationNotes(
            "crypto.decrypt",
            "Decrypt bytes.",
            (("algorithm", "as of crypto.encrypt"), ("key", "bin"), ("data", "bin")),
            "bin; nil when they were not encrypted with this key, or were changed",
            _COMPUTING,
            (_SEALED, _RSA),
        ),
        crypto_decrypt,
    ),
    (
        OperationNotes(
            "crypto.derive_bits",
            "Derive bytes from a secret.",
            (
                (
                    "algorithm",
                    f"{{name: {_any_of(DERIVATIONS)}, {_HASH}, salt?: bin (PBKDF2, HKDF), iterations?: int (PBKDF2), "
                    "info?: bin (HKDF), public?: bin (ECDH, X25519)}",
                ),
                ("key", "bin"),
                ("bits", "int, a multiple of 8"),
            ),
            "bin",
            _COMPUTING,
            (
                f"PBKDF2 {ITERATIONS} iterations, and twice as many for all blocks of the hash's size",
                f"{DERIVED_BYTES} bytes",
            ),
        ),
        crypto_derive_bits,
    ),
    (
        OperationNotes(
            "crypto.generate_key",
            "Make a pair of keys.",
            (
                (
                    "algorithm",
                    f"{{name: {_any_of(KEY_PAIRS)}, named_curve?: str (ECDSA, ECDH), modulus_length?: int and "
                    "public_exponent?: bin (RSA)}",
                ),
            ),
            "{private: key, public: key}, each as of crypto.import_key",
            _COMPUTING,
            ("RSA of 2048, 3072 or 4096 bits, with exponent 3 or 65537",),
        ),
        crypto_generate_key,
    ),
    (
        OperationNotes(
            "crypto.import_key",
            "Read an asymmetric key, and check that it is one of the algorithm.",
            (
                ("format", '"pkcs8" | "spki" | "raw" (public, of a curve) | "jwk"'),
                ("key", "bin | {str: str} (jwk)"),
                ("algorithm", f"{{name: {_any_of(KEY_PAIRS)}, named_curve?: str}}"),
            ),
            '{type: "private" | "public", key: bin (PKCS#8 or SubjectPublicKeyInfo), modulus_length?: int, '
            "public_exponent?: bin}",
            _COMPUTING,
            (_RSA,),
        ),
        crypto_import_key,
    ),
    (
        OperationNotes(
            "crypto.export_key",
            "Write an asymmetric key in another format.",
            (
                ("format", '"pkcs8" | "spki" | "raw" (public, of a curve) | "jwk"'),
                ("type", '"private" | "public"'),
                ("key", "bin"),
            ),
            "bin | {str: str} (jwk)",
            _COMPUTING,
            (_RSA,),
        ),
        crypto_export_key,
    ),
)

COMPRESSION: Final[Rows] = (
    (
        OperationNotes(
            "compression.compress",
            "A stream that is another one compressed. It is computed as it is read.",
            (("format", _any_of(tuple(COMPRESSIONS))), ("stream", "stream id")),
            "stream id; reading it fails with closed_stream when the event's CPU time is used up",
            ((Code.CLOSED_STREAM, "the stream was closed"),),
        ),
        compression_compress,
    ),
    (
        OperationNotes(
            "compression.decompress",
            "The other way.",
            (("format", "as of compression.compress"), ("stream", "stream id")),
            "stream id; reading it fails with closed_stream where the data is not in the format, has no end, or has "
            "something behind it",
            ((Code.CLOSED_STREAM, "the stream was closed"),),
            (f"{DECOMPRESSED_BYTES} bytes",),
        ),
        compression_decompress,
    ),
)
