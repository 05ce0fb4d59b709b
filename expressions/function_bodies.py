"""What the functions do: on values that are there, of the types that `functions` says. None means missing.

Strings are bytes to all of them, as in Cloudflare's language: ASCII is worked on as it is, the rest is encoded.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Final

from expressions.strings import as_bytes, as_text
from expressions.syntax import IPAddress


def upper(value: str) -> str:
    return value.upper() if value.isascii() else as_text(as_bytes(value).upper())


def length(value: str | Sequence[object]) -> int:
    return len(as_bytes(value)) if isinstance(value, str) else len(value)


def substring(value: str, start: int, end: int | None = None) -> str:
    return value[start:end] if value.isascii() else as_text(as_bytes(value)[start:end])


def concat(first: str | Sequence[object], *others: str | Sequence[object]) -> object:
    if isinstance(first, str):
        return first + "".join(other for other in others if isinstance(other, str))
    return [item for part in (first, *others) for item in part]


_ENCODED: Final = re.compile(rb"%([0-9A-Fa-f]{2})|\+")
_ENCODED_UNICODE: Final = re.compile(rb"%([0-9A-Fa-f]{2})|\+|%u([0-9A-Fa-f]{4})")
# A value can be encoded again and again, and each pass costs its length: this deep we follow.
DECODING_PASSES: Final = 16


def url_decode(value: str, options: str = "") -> str:
    encoded = _ENCODED_UNICODE if "u" in options else _ENCODED
    text = as_bytes(value)
    for _ in range(DECODING_PASSES if "r" in options else 1):
        decoded = encoded.sub(_decoded, text)
        if decoded == text:
            break
        text = decoded
    return as_text(text)


def _decoded(found: re.Match[bytes]) -> bytes:
    if found[0] == b"+":
        return b" "
    if found[1]:
        return bytes([int(found[1], 16)])
    return chr(int(found[2], 16)).encode("utf-8", "surrogatepass")


def remove_bytes(value: str, removed: str) -> str:
    return as_text(as_bytes(value).translate(None, as_bytes(removed)))


def encode_base64(value: str, flags: str = "") -> str:
    encoded = (base64.urlsafe_b64encode if "u" in flags else base64.b64encode)(as_bytes(value)).decode()
    return encoded if "p" in flags else encoded.rstrip("=")


_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]*={0,2}")


def decode_base64(value: str) -> str | None:
    if _BASE64.fullmatch(value) is None:
        return None
    bare = value.rstrip("=").translate(str.maketrans("-_", "+/"))
    try:
        return as_text(base64.b64decode(bare + "=" * (-len(bare) % 4)))
    except binascii.Error:
        return None


def _looked_up(document: str, keys: Sequence[str | int]) -> object:
    try:
        value = json.loads(document)
    except (ValueError, RecursionError):
        return None
    for key in keys:
        if isinstance(key, str) and isinstance(value, dict):
            value = value.get(key)
        elif isinstance(key, int) and isinstance(value, list) and 0 <= key < len(value):
            value = value[key]
        else:
            return None
    return value


def lookup_json_string(document: str, *keys: str | int) -> str | None:
    value = _looked_up(document, keys)
    return value if isinstance(value, str) else None


def lookup_json_integer(document: str, *keys: str | int) -> int | None:
    value = _looked_up(document, keys)
    if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63:
        return value
    return None


def to_string(value: bool | int | IPAddress) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def cidr(address: IPAddress, bits4: int, bits6: int) -> IPAddress:
    bits = bits4 if address.version == 4 else bits6
    spare = address.max_prefixlen - bits
    return type(address)(int(address) >> spare << spare)


def cidr6(address: IPAddress, bits6: int) -> IPAddress:
    return cidr(address, 32, bits6)


def has_value(collection: Sequence[object] | Mapping[str, object], value: object) -> bool:
    return value in (collection.values() if isinstance(collection, Mapping) else collection)


def has_key(values: Mapping[str, object], key: str) -> bool:
    return key in values


def join(items: Sequence[str], separator: str) -> str:
    return separator.join(items)


def split(value: str, separator: str, limit: int) -> list[str]:
    return value.split(separator, limit - 1)


def sha256(value: str) -> str:
    return as_text(hashlib.sha256(as_bytes(value)).digest())


def sha512(value: str) -> str:
    return as_text(hashlib.sha512(as_bytes(value)).digest())
