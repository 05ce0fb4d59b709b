"""A material as it was sent → what is sealed, and what may be seen of it. Pure, but slow enough for a thread:
RSA keys are checked.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from control.envelope import ApiError, Code
from storage.egress_records import MaterialKind

#: Goes into a header, or into a proxy's credentials.
SECRET_BYTES: Final = 8 * 1024
BUNDLE_BYTES: Final = 512 * 1024
CHAIN_BYTES: Final = 64 * 1024
#: An RSA key of 16,384 bits has 13 KB; checking a larger one takes seconds.
KEY_BYTES: Final = 16 * 1024

_VALUE: Final = re.compile(r"[!-~](?:[ -~]*[!-~])?")


class PutMaterial(msgspec.Struct, forbid_unknown_fields=True):
    """What each kind takes: `value`; `pem`; `certificate_pem` and `key_pem`."""

    kind: MaterialKind
    value: str | None = None
    pem: str | None = None
    certificate_pem: str | None = None
    key_pem: str | None = None


_FIELDS: Final[Mapping[MaterialKind, tuple[str, ...]]] = {
    MaterialKind.SECRET: ("value",),
    MaterialKind.CA_BUNDLE: ("pem",),
    MaterialKind.CLIENT_CERTIFICATE: ("certificate_pem", "key_pem"),
}


@dataclass(frozen=True, slots=True)
class ReadMaterial:
    kind: MaterialKind
    #: What is sealed: the fields as JSON.
    plaintext: bytes = field(repr=False)
    #: What may be seen.
    shown: Mapping[str, Any]
    warnings: tuple[str, ...] = ()


def read_material(sent: PutMaterial, now_s: float) -> ReadMaterial:
    """Raises ApiError(400) that names the field, and never quotes a value."""
    values = _values(sent)
    shown: Mapping[str, Any]
    match sent.kind:
        case MaterialKind.SECRET:
            _check_secret(values["value"])
            shown = {}
        case MaterialKind.CA_BUNDLE:
            certificates = _certificates(values["pem"], "pem", BUNDLE_BYTES)
            shown = {"certificates": len(certificates), "not_after": _earliest_end(certificates)}
        case MaterialKind.CLIENT_CERTIFICATE:
            chain = _certificates(values["certificate_pem"], "certificate_pem", CHAIN_BYTES)
            _check_key(values["key_pem"], chain[0])
            shown = {
                "certificates": len(chain),
                "not_after": _earliest_end(chain),
                "subject": chain[0].subject.rfc4514_string()[:500],
                "fingerprint_sha256": chain[0].fingerprint(hashes.SHA256()).hex(),
            }
    warnings: tuple[str, ...] = ()
    if shown and shown["not_after"] < _rfc3339(datetime.datetime.fromtimestamp(now_s, datetime.UTC)):
        warnings = (f"a certificate in it has expired ({shown['not_after']})",)
    return ReadMaterial(sent.kind, msgspec.json.encode(values), shown, warnings)


def _values(sent: PutMaterial) -> dict[str, str]:
    given = {
        name: value
        for name in ("value", "pem", "certificate_pem", "key_pem")
        if (value := getattr(sent, name)) is not None
    }
    wanted = _FIELDS[sent.kind]
    for name in wanted:
        if not given.get(name):
            raise _wrong(name, f"missing or empty; a {sent.kind} has {' and '.join(wanted)}")
    for name in given:
        if name not in wanted:
            raise _wrong(name, f"a {sent.kind} has none; it has {' and '.join(wanted)}")
    return given


def _check_secret(value: str) -> None:
    if len(value) > SECRET_BYTES or not _VALUE.fullmatch(value):
        raise _wrong(
            "value",
            f"1 to {SECRET_BYTES} printable ASCII characters, no blank or line break at the ends, are right: it"
            " goes into a header",
        )


def _certificates(text: str, name: str, most_bytes: int) -> Sequence[x509.Certificate]:
    if len(text) > most_bytes:
        raise _wrong(name, f"{len(text)} characters; at most {most_bytes} are allowed")
    if "PRIVATE KEY" in text:
        raise _wrong(name, "there is a private key in it; certificates alone are right")
    try:
        return x509.load_pem_x509_certificates(text.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _wrong(name, f"this is no PEM of certificates: {error}") from None


def _check_key(text: str, leaf: x509.Certificate) -> None:
    if len(text) > KEY_BYTES:
        raise _wrong("key_pem", f"{len(text)} characters; at most {KEY_BYTES} are allowed")
    try:
        key = load_pem_private_key(text.encode(), None)
    except TypeError:
        raise _wrong("key_pem", "the key is encrypted; one without a passphrase is right") from None
    except (ValueError, UnsupportedAlgorithm):
        # The library's words may hold parts of what it read.
        raise _wrong("key_pem", "this is no PEM of a private key") from None
    try:
        same = _spki(key.public_key()) == _spki(leaf.public_key())
    except (ValueError, UnsupportedAlgorithm):
        raise _wrong(
            "certificate_pem", "the first certificate's key is of a kind that is not known"
        ) from None
    if not same:
        raise _wrong("key_pem", "the key is not the first certificate's: these two do not belong together")


def _spki(key: Any) -> bytes:
    encoded: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded


def _earliest_end(certificates: Sequence[x509.Certificate]) -> str:
    return _rfc3339(min(certificate.not_valid_after_utc for certificate in certificates))


def _rfc3339(at: datetime.datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _wrong(name: str, what: str) -> ApiError:
    return ApiError(400, Code.MATERIAL, f"{name}: {what}", name)
