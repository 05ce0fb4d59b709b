"""Keys of Web Crypto as bytes and JWKs: what a guest sends is read anew for each operation, and no key is kept.

Asymmetric keys travel as PKCS#8 and SubjectPublicKeyInfo, both DER; symmetric ones as they are.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)

from bindings.arguments import invalid, type_name
from model.errors import OperationError, OperationErrorCode

_OkpPrivate = ed25519.Ed25519PrivateKey | x25519.X25519PrivateKey
_OkpPublic = ed25519.Ed25519PublicKey | x25519.X25519PublicKey
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | _OkpPrivate
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | _OkpPublic
#: Keys of 32 bytes, by the name of their algorithm, which is that of their curve in a JWK: private and public.
_OKP: Final[Mapping[str, tuple[type[_OkpPrivate], type[_OkpPublic]]]] = {
    "Ed25519": (ed25519.Ed25519PrivateKey, ed25519.Ed25519PublicKey),
    "X25519": (x25519.X25519PrivateKey, x25519.X25519PublicKey),
}

KEY_BYTES: Final = 16 * 1024
#: Of a modulus. Larger ones are as good as none, and cost the host seconds.
LEAST_RSA_BITS: Final = 1024
MOST_RSA_BITS: Final = 4096
CURVES: Final[Mapping[str, ec.EllipticCurve]] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
}
_CURVE_NAMES: Final = {curve.name: name for name, curve in CURVES.items()}


def wrong(message: str) -> OperationError:
    return OperationError(OperationErrorCode.INVALID_ARGUMENT, message)


def parse_bytes(name: str, value: object, most: int) -> bytes:
    if not isinstance(value, bytes):
        invalid(f"{name}: {type_name(value)}; bytes are right")
    if len(value) > most:
        invalid(f"{name}: {len(value)} bytes; at most {most} are right")
    return value


#: Digests of private keys that were found to be valid. Whether the factors of a 4096-bit RSA key are prime takes 0.2 s,
#: and a worker signs with the same one at each event.
_valid: Final[OrderedDict[bytes, None]] = OrderedDict()
_VALID: Final = 4096


def load_private(data: bytes) -> PrivateKey:
    """Of PKCS#8. Raises OperationError(invalid_argument)."""
    digest = hashlib.sha256(data).digest()
    try:
        key = load_der_private_key(data, None, unsafe_skip_rsa_key_validation=digest in _valid)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        invalid("key: it is no private key in PKCS#8 (DER, not encrypted)")
    if not isinstance(key, PrivateKey):
        invalid("key: RSA, the curves P-256, P-384 and P-521, Ed25519 and X25519 are right")
    _check(key)
    _valid[digest] = None
    if len(_valid) > _VALID:
        with suppress(KeyError):  # another thread was there first
            _valid.popitem(last=False)
    return key


def load_public(data: bytes) -> PublicKey:
    """Of SubjectPublicKeyInfo. Raises OperationError(invalid_argument)."""
    try:
        key = load_der_public_key(data)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        invalid("key: it is no public key in SubjectPublicKeyInfo (DER)")
    if not isinstance(key, PublicKey):
        invalid("key: RSA, the curves P-256, P-384 and P-521, Ed25519 and X25519 are right")
    _check(key)
    return key


def _check(key: PrivateKey | PublicKey) -> None:
    if isinstance(key, rsa.RSAPrivateKey | rsa.RSAPublicKey):
        if not LEAST_RSA_BITS <= key.key_size <= MOST_RSA_BITS:
            invalid(f"key: RSA of {key.key_size} bits; {LEAST_RSA_BITS} to {MOST_RSA_BITS} are right")
    elif (
        isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey)
        and key.curve.name not in _CURVE_NAMES
    ):
        invalid(f"key: the curve {key.curve.name}; {', '.join(CURVES)} are right")


def private_bytes(key: PrivateKey) -> bytes:
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def public_bytes(key: PublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def read_key(form: str, data: object, algorithm: Mapping[str, Any]) -> PrivateKey | PublicKey:
    """A key as somebody has it: `form` is pkcs8, spki, raw (a public key's) or jwk.

    Raises OperationError(invalid_argument).
    """
    if form == "jwk":
        if not isinstance(data, dict):
            invalid(f"key: {type_name(data)}; a map is right for jwk")
        key = _of_jwk(data)
        _check(key)
    elif form == "pkcs8":
        key = load_private(parse_bytes("key", data, KEY_BYTES))
    elif form == "spki":
        key = load_public(parse_bytes("key", data, KEY_BYTES))
    elif form == "raw":
        key = _of_raw(parse_bytes("key", data, KEY_BYTES), algorithm)
    else:
        invalid("format: pkcs8, spki, raw and jwk are right")
    _check_algorithm(key, algorithm)
    return key


def _check_algorithm(key: PrivateKey | PublicKey, algorithm: Mapping[str, Any]) -> None:
    name = str(algorithm.get("name"))
    wanted = "EC" if name in ("ECDSA", "ECDH") else name if name in _OKP else "RSA"
    if kind_of(key) != wanted:
        invalid(f"key: it is one of {kind_of(key)}, and {name} takes one of {wanted}")
    if wanted == "EC" and algorithm.get("named_curve") != curve_of(key):
        invalid(f"key: its curve is {curve_of(key)}, not {algorithm.get('named_curve')}")


def kind_of(key: PrivateKey | PublicKey) -> str:
    if isinstance(key, rsa.RSAPrivateKey | rsa.RSAPublicKey):
        return "RSA"
    return next((name for name, classes in _OKP.items() if isinstance(key, classes)), "EC")


def curve_of(key: PrivateKey | PublicKey) -> str | None:
    if isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey):
        return _CURVE_NAMES[key.curve.name]
    return None


def describe(key: PrivateKey | PublicKey) -> dict[str, object]:
    """The form in which it travels from now on, and what a CryptoKey says of it."""
    is_private = isinstance(key, PrivateKey)
    told: dict[str, object] = {
        "type": "private" if is_private else "public",
        "key": private_bytes(key) if isinstance(key, PrivateKey) else public_bytes(key),
    }
    if isinstance(key, rsa.RSAPrivateKey | rsa.RSAPublicKey):
        public = key.public_key() if isinstance(key, rsa.RSAPrivateKey) else key
        told["modulus_length"] = key.key_size
        told["public_exponent"] = _uint(public.public_numbers().e)
    return told


def _of_raw(data: bytes, algorithm: Mapping[str, Any]) -> PublicKey:
    try:
        if (name := str(algorithm.get("name"))) in _OKP:
            return _OKP[name][1].from_public_bytes(data)
        curve = CURVES.get(str(algorithm.get("named_curve")))
        if curve is None:
            invalid("key: raw is for public keys of elliptic curves")
        return ec.EllipticCurvePublicKey.from_encoded_point(curve, data)
    except ValueError:
        invalid("key: it is no point of its curve")


def raw_of(key: PrivateKey | PublicKey) -> bytes:
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    if isinstance(key, _OkpPublic):
        return key.public_bytes_raw()
    raise wrong("key: raw is for public keys of elliptic curves")


# -- JWK (RFC 7517, 7518, 8037) ------------------------------------------------------------------------------------


def _of_jwk(jwk: Mapping[str, Any]) -> PrivateKey | PublicKey:
    try:
        match jwk.get("kty"):
            case "RSA":
                return _rsa_of_jwk(jwk)
            case "EC":
                return _ec_of_jwk(jwk)
            case "OKP" if str(jwk.get("crv")) in _OKP:
                return _okp_of_jwk(jwk, *_OKP[str(jwk["crv"])])
    except ValueError:
        invalid("key: its numbers make no key")
    raise wrong("key: `kty` RSA, EC and OKP (with `crv` Ed25519 or X25519) are right")


def _rsa_of_jwk(jwk: Mapping[str, Any]) -> rsa.RSAPrivateKey | rsa.RSAPublicKey:
    public = rsa.RSAPublicNumbers(_number(jwk, "e"), _number(jwk, "n"))
    # Before anything is computed with it.
    if public.n.bit_length() > MOST_RSA_BITS:
        invalid(f"key: RSA of {public.n.bit_length()} bits; at most {MOST_RSA_BITS} are right")
    if "d" not in jwk:
        return public.public_key()
    p, q, d, dp, dq, qi = (_number(jwk, name) for name in ("p", "q", "d", "dp", "dq", "qi"))
    return rsa.RSAPrivateNumbers(p, q, d, dp, dq, qi, public).private_key()


def _ec_of_jwk(jwk: Mapping[str, Any]) -> ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey:
    curve = CURVES.get(str(jwk.get("crv")))
    if curve is None:
        invalid(f"key: `crv` {', '.join(CURVES)} are right")
    public = ec.EllipticCurvePublicNumbers(_number(jwk, "x"), _number(jwk, "y"), curve)
    if "d" not in jwk:
        return public.public_key()
    return ec.EllipticCurvePrivateNumbers(_number(jwk, "d"), public).private_key()


def _okp_of_jwk(
    jwk: Mapping[str, Any], private: type[_OkpPrivate], public: type[_OkpPublic]
) -> _OkpPrivate | _OkpPublic:
    x = _bytes(jwk, "x")
    if "d" not in jwk:
        return public.from_public_bytes(x)
    key = private.from_private_bytes(_bytes(jwk, "d"))
    if key.public_key().public_bytes_raw() != x:
        invalid("key: `x` is not the public part of `d`")
    return key


def jwk_of(key: PrivateKey | PublicKey) -> dict[str, str]:
    if isinstance(key, rsa.RSAPrivateKey | rsa.RSAPublicKey):
        return _jwk_of_rsa(key)
    if isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey):
        return _jwk_of_ec(key)
    public = key.public_key() if isinstance(key, _OkpPrivate) else key
    told = {"kty": "OKP", "crv": kind_of(key), "x": _text(public.public_bytes_raw())}
    if isinstance(key, _OkpPrivate):
        told["d"] = _text(key.private_bytes_raw())
    return told


def _jwk_of_rsa(key: rsa.RSAPrivateKey | rsa.RSAPublicKey) -> dict[str, str]:
    public = (key.public_key() if isinstance(key, rsa.RSAPrivateKey) else key).public_numbers()
    told = {"kty": "RSA", "n": _text(_uint(public.n)), "e": _text(_uint(public.e))}
    if isinstance(key, rsa.RSAPrivateKey):
        own = key.private_numbers()
        numbers = {"d": own.d, "p": own.p, "q": own.q, "dp": own.dmp1, "dq": own.dmq1, "qi": own.iqmp}
        told |= {name: _text(_uint(number)) for name, number in numbers.items()}
    return told


def _jwk_of_ec(key: ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey) -> dict[str, str]:
    size = (key.curve.key_size + 7) // 8
    public = (key.public_key() if isinstance(key, ec.EllipticCurvePrivateKey) else key).public_numbers()
    told = {
        "kty": "EC",
        "crv": _CURVE_NAMES[key.curve.name],
        "x": _text(public.x.to_bytes(size, "big")),
        "y": _text(public.y.to_bytes(size, "big")),
    }
    if isinstance(key, ec.EllipticCurvePrivateKey):
        told["d"] = _text(key.private_numbers().private_value.to_bytes(size, "big"))
    return told


def _uint(number: int) -> bytes:
    return number.to_bytes(max(1, (number.bit_length() + 7) // 8), "big")


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(jwk: Mapping[str, Any], name: str) -> bytes:
    value = jwk.get(name)
    if not isinstance(value, str) or len(value) > KEY_BYTES:
        invalid(f"key: `{name}`: base64url of at most {KEY_BYTES} characters is right")
    try:
        return base64.b64decode(value + "=" * (-len(value) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError):
        invalid(f"key: `{name}`: it is no base64url")


def _number(jwk: Mapping[str, Any], name: str) -> int:
    return int.from_bytes(_bytes(jwk, name), "big")
