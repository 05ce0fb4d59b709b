"""The algorithms of Web Crypto, as functions of bytes: pure, and slow or fast as OpenSSL is.

An `algorithm` is a map as of the Web Cryptography API, in snake_case; what it lacks or has wrong is
OperationError(invalid_argument). What a key does not fit is so too.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, keywrap, padding
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from bindings.arguments import invalid, parse_int
from bindings.crypto_keys import (
    CURVES,
    MOST_RSA_BITS,
    PrivateKey,
    PublicKey,
    describe,
    load_private,
    load_public,
    parse_bytes,
    wrong,
)

#: As on Cloudflare.
ITERATIONS: Final = 100_000
DERIVED_BYTES: Final = 8192
_AAD_BYTES: Final = 64 * 1024
_NONCE_BYTES: Final = 1024
_HASHES: Final[Mapping[str, tuple[str, Callable[[], hashes.HashAlgorithm]]]] = {
    "SHA-1": ("sha1", hashes.SHA1),
    "SHA-256": ("sha256", hashes.SHA256),
    "SHA-384": ("sha384", hashes.SHA384),
    "SHA-512": ("sha512", hashes.SHA512),
}
DIGESTS: Final = ("MD5", *_HASHES)
SIGNATURES: Final = ("HMAC", "RSASSA-PKCS1-v1_5", "RSA-PSS", "ECDSA", "Ed25519")
CIPHERS: Final = ("AES-GCM", "AES-CBC", "AES-CTR", "AES-KW", "RSA-OAEP")
DERIVATIONS: Final = ("PBKDF2", "HKDF", "ECDH", "X25519")
KEY_PAIRS: Final = ("RSASSA-PKCS1-v1_5", "RSA-PSS", "RSA-OAEP", "ECDSA", "ECDH", "Ed25519", "X25519")

Algorithm = Mapping[str, Any]


def digest_of(name: str, data: bytes) -> bytes:
    hasher = hasher_of(name)
    hasher.update(data)
    return hasher.digest()


def hasher_of(name: str) -> hashlib._Hash:
    return hashlib.new(hashlib_name(name), usedforsecurity=False)


def hashlib_name(name: str) -> str:
    """MD5 is there because old protocols are; it protects nothing."""
    return "md5" if name == "MD5" else _HASHES[name][0]


def _name(algorithm: Algorithm, known: tuple[str, ...]) -> str:
    name = algorithm.get("name")
    if name not in known:
        invalid(f"algorithm.name: {', '.join(known)} are right")
    return cast("str", name)


def _hash(algorithm: Algorithm) -> tuple[str, hashes.HashAlgorithm]:
    """Its name to hashlib, and to `cryptography`."""
    found = _HASHES.get(str(algorithm.get("hash")))
    if found is None:
        invalid(f"algorithm.hash: {', '.join(_HASHES)} are right")
    return found[0], found[1]()


# -- signatures ----------------------------------------------------------------------------------------------------


def sign(algorithm: Algorithm, key: bytes, data: bytes) -> bytes:
    name = _name(algorithm, SIGNATURES)
    if name == "HMAC":
        return hmac.new(key, data, _hash(algorithm)[0]).digest()
    private = load_private(key)
    if name == "Ed25519" and isinstance(private, ed25519.Ed25519PrivateKey):
        return private.sign(data)
    if name == "ECDSA" and isinstance(private, ec.EllipticCurvePrivateKey):
        r, s = decode_dss_signature(private.sign(data, ec.ECDSA(_hash(algorithm)[1])))
        size = (private.key_size + 7) // 8
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")
    if name in ("RSASSA-PKCS1-v1_5", "RSA-PSS") and isinstance(private, rsa.RSAPrivateKey):
        try:
            return private.sign(data, _signature_padding(algorithm), _hash(algorithm)[1])
        except ValueError:
            invalid("the key is too short for this hash and salt")
    raise wrong(f"key: it is none of {name}")


def verify(algorithm: Algorithm, key: bytes, signature: bytes, data: bytes) -> bool:
    name = _name(algorithm, SIGNATURES)
    if name == "HMAC":
        return hmac.compare_digest(sign(algorithm, key, data), signature)
    public = load_public(key)
    try:
        if name == "Ed25519" and isinstance(public, ed25519.Ed25519PublicKey):
            public.verify(signature, data)
        elif name == "ECDSA" and isinstance(public, ec.EllipticCurvePublicKey):
            size = (public.key_size + 7) // 8
            if len(signature) != 2 * size:
                return False
            r, s = (int.from_bytes(signature[at : at + size], "big") for at in (0, size))
            public.verify(encode_dss_signature(r, s), data, ec.ECDSA(_hash(algorithm)[1]))
        elif name in ("RSASSA-PKCS1-v1_5", "RSA-PSS") and isinstance(public, rsa.RSAPublicKey):
            public.verify(signature, data, _signature_padding(algorithm), _hash(algorithm)[1])
        else:
            invalid(f"key: it is none of {name}")
    except (InvalidSignature, ValueError):
        return False
    return True


def _signature_padding(algorithm: Algorithm) -> rsa_padding.AsymmetricPadding:
    if algorithm["name"] == "RSASSA-PKCS1-v1_5":
        return rsa_padding.PKCS1v15()
    salt = parse_int("algorithm.salt_length", algorithm.get("salt_length"), 0, MOST_RSA_BITS // 8)
    return rsa_padding.PSS(rsa_padding.MGF1(_hash(algorithm)[1]), salt)


# -- encryption ----------------------------------------------------------------------------------------------------


def encrypt(algorithm: Algorithm, key: bytes, data: bytes) -> bytes:
    match _name(algorithm, CIPHERS):
        case "AES-GCM":
            sealed = _gcm(key).encrypt(_nonce(algorithm), data, _associated(algorithm))
            return sealed[: len(sealed) - 16 + _tag_bytes(algorithm)]
        case "AES-CBC":
            padder = padding.PKCS7(128).padder()
            encryptor = Cipher(_aes(key), modes.CBC(_block(algorithm, "iv"))).encryptor()
            return encryptor.update(padder.update(data) + padder.finalize()) + encryptor.finalize()
        case "AES-CTR":
            return _counted(algorithm, key, data)
        case "AES-KW":
            _aes(key)
            _check_eights(data, 16)
            return keywrap.aes_key_wrap(key, data)
        case _:
            public = load_public(key)
            if not isinstance(public, rsa.RSAPublicKey):
                invalid("key: it is none of RSA-OAEP")
            try:
                return public.encrypt(data, _oaep(algorithm))
            except ValueError:
                invalid("data: it is too long for this key")


def decrypt(algorithm: Algorithm, key: bytes, data: bytes) -> bytes | None:
    """None: it was not made with this key, or was changed."""
    match _name(algorithm, CIPHERS):
        case "AES-GCM":
            return _opened(algorithm, key, data)
        case "AES-CBC":
            try:
                decryptor = Cipher(_aes(key), modes.CBC(_block(algorithm, "iv"))).decryptor()
                unpadder = padding.PKCS7(128).unpadder()
                return unpadder.update(decryptor.update(data) + decryptor.finalize()) + unpadder.finalize()
            except ValueError:
                return None
        case "AES-CTR":
            return _counted(algorithm, key, data)
        case "AES-KW":
            _aes(key)
            _check_eights(data, 24)
            try:
                return keywrap.aes_key_unwrap(key, data)
            except keywrap.InvalidUnwrap:
                return None
        case _:
            private = load_private(key)
            if not isinstance(private, rsa.RSAPrivateKey):
                invalid("key: it is none of RSA-OAEP")
            try:
                return private.decrypt(data, _oaep(algorithm))
            except ValueError:
                return None


def _opened(algorithm: Algorithm, key: bytes, data: bytes) -> bytes | None:
    size, nonce, cipher = _tag_bytes(algorithm), _nonce(algorithm), _gcm(key)
    if len(data) < size:
        return None
    if size == 16:
        try:
            return cipher.decrypt(nonce, data, _associated(algorithm))
        except InvalidTag:
            return None
    mode = modes.GCM(nonce, data[len(data) - size :], min_tag_length=size)
    decryptor = Cipher(_aes(key), mode).decryptor()
    decryptor.authenticate_additional_data(_associated(algorithm) or b"")
    try:
        return decryptor.update(data[: len(data) - size]) + decryptor.finalize()
    except InvalidTag:
        return None


def _counted(algorithm: Algorithm, key: bytes, data: bytes) -> bytes:
    counter = _block(algorithm, "counter")
    bits = parse_int("algorithm.length", algorithm.get("length"), 1, 128)
    blocks = (len(data) + 15) // 16
    # OpenSSL counts with all 128 bits: where the counter's own would wrap, it would touch the nonce.
    if blocks > (1 << bits) - (int.from_bytes(counter, "big") & ((1 << bits) - 1)):
        invalid("algorithm.counter: it would begin again within the data")
    encryptor = Cipher(_aes(key), modes.CTR(counter)).encryptor()
    return encryptor.update(data) + encryptor.finalize()


def _check_eights(data: bytes, least: int) -> None:
    if len(data) < least or len(data) % 8:
        invalid(f"data: {len(data)} bytes; {least} or more, in eights, are right for AES-KW")


def _aes(key: bytes) -> algorithms.AES:
    if len(key) not in (16, 24, 32):
        invalid(f"key: {8 * len(key)} bits; AES has 128, 192 or 256")
    return algorithms.AES(key)


def _gcm(key: bytes) -> AESGCM:
    _aes(key)
    return AESGCM(key)


def _nonce(algorithm: Algorithm) -> bytes:
    nonce = parse_bytes("algorithm.iv", algorithm.get("iv"), 128)
    if len(nonce) < 8:
        invalid(f"algorithm.iv: {len(nonce)} bytes; 8 to 128 are right, and 12 are usual")
    return nonce


def _block(algorithm: Algorithm, name: str) -> bytes:
    block = parse_bytes(f"algorithm.{name}", algorithm.get(name), _NONCE_BYTES)
    if len(block) != 16:
        invalid(f"algorithm.{name}: {len(block)} bytes; 16 are right")
    return block


def _associated(algorithm: Algorithm) -> bytes | None:
    given = algorithm.get("additional_data")
    return None if given is None else parse_bytes("algorithm.additional_data", given, _AAD_BYTES)


def _tag_bytes(algorithm: Algorithm) -> int:
    bits = algorithm.get("tag_length", 128)
    if bits not in (32, 64, 96, 104, 112, 120, 128):
        invalid("algorithm.tag_length: 32, 64, 96, 104, 112, 120 and 128 are right")
    return int(bits) // 8


def _oaep(algorithm: Algorithm) -> rsa_padding.OAEP:
    given = algorithm.get("label")
    label = None if given is None else parse_bytes("algorithm.label", given, _NONCE_BYTES)
    used = _hash(algorithm)[1]
    return rsa_padding.OAEP(rsa_padding.MGF1(used), used, label)


# -- derivation and making of keys ---------------------------------------------------------------------------------


def derive(algorithm: Algorithm, key: bytes, bits: int) -> bytes:
    name = _name(algorithm, DERIVATIONS)
    size = bits // 8
    if not size and name in ("PBKDF2", "HKDF"):
        invalid(f"bits: {name} needs some")
    if name == "PBKDF2":
        salt = parse_bytes("algorithm.salt", algorithm.get("salt"), _AAD_BYTES)
        iterations = parse_int("algorithm.iterations", algorithm.get("iterations"), 1, ITERATIONS)
        # Each block of the hash's size costs all iterations.
        blocks = -(-size // hashlib.new(_hash(algorithm)[0]).digest_size)
        if blocks * iterations > 2 * ITERATIONS:
            invalid(
                f"algorithm.iterations: {iterations} for each of {blocks} blocks; "
                f"{2 * ITERATIONS} together are right"
            )
        return hashlib.pbkdf2_hmac(_hash(algorithm)[0], key, salt, iterations, size)
    if name == "HKDF":
        salt = parse_bytes("algorithm.salt", algorithm.get("salt"), _AAD_BYTES)
        info = parse_bytes("algorithm.info", algorithm.get("info"), _AAD_BYTES)
        try:
            return HKDF(_hash(algorithm)[1], size, salt, info).derive(key)
        except ValueError:
            invalid("bits: more than 255 times the hash's size")
    return _agreed(algorithm, key, size)


def _agreed(algorithm: Algorithm, key: bytes, size: int) -> bytes:
    private, public = (
        load_private(key),
        load_public(parse_bytes("algorithm.public", algorithm.get("public"), 4096)),
    )
    if algorithm["name"] == "X25519":
        return _cut(_agreed_x25519(private, public), size)
    if not isinstance(private, ec.EllipticCurvePrivateKey) or not isinstance(
        public, ec.EllipticCurvePublicKey
    ):
        invalid("key: ECDH takes two of an elliptic curve")
    if private.curve.name != public.curve.name:
        invalid("algorithm.public: its curve is another than the key's")
    return _cut(private.exchange(ec.ECDH(), public), size)


def _agreed_x25519(private: PrivateKey, public: PublicKey) -> bytes:
    if not isinstance(private, x25519.X25519PrivateKey) or not isinstance(public, x25519.X25519PublicKey):
        invalid("key: X25519 takes two of its own")
    try:
        return private.exchange(public)
    except ValueError:
        invalid("algorithm.public: it is a point of low order")


def _cut(shared: bytes, size: int) -> bytes:
    if size > len(shared):
        invalid(f"bits: {8 * size}; this curve gives {8 * len(shared)}")
    return shared[:size] if size else shared


def generate(algorithm: Algorithm) -> dict[str, object]:
    """A pair: `private` and `public`, each as `describe` has it."""
    name = _name(algorithm, KEY_PAIRS)
    private: PrivateKey
    if name == "Ed25519":
        private = ed25519.Ed25519PrivateKey.generate()
    elif name == "X25519":
        private = x25519.X25519PrivateKey.generate()
    elif name in ("ECDSA", "ECDH"):
        curve = CURVES.get(str(algorithm.get("named_curve")))
        if curve is None:
            invalid(f"algorithm.named_curve: {', '.join(CURVES)} are right")
        private = ec.generate_private_key(curve)
    else:
        bits = algorithm.get("modulus_length")
        exponent = int.from_bytes(
            parse_bytes("algorithm.public_exponent", algorithm.get("public_exponent"), 8), "big"
        )
        if bits not in (2048, 3072, 4096) or exponent not in (3, 65537):
            invalid("algorithm: modulus_length 2048, 3072 and 4096 are right, public_exponent 3 and 65537")
        private = rsa.generate_private_key(exponent, int(bits))
    return {"private": describe(private), "public": describe(private.public_key())}
