"""The functions an expression may call: what they take, what they give, what they do.

A missing argument makes the result missing; a function here sees values only, and returns None for a missing
result. Nothing here raises or takes more than time in proportion to its arguments. docs/expressions.md shows
this table; `any` and `all` are in it for their types, and worked out by `closures`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from expressions.schema import ADDRESS, BOOLEAN, BOOLEANS, INTEGER, STRING, Array, Map, Type
from expressions.syntax import IPAddress


class Source(StrEnum):
    """Where an argument may come from. Cloudflare draws the line per function, and so is it drawn here."""

    ANY = "value"
    FIELD = "field or function"
    LITERAL = "literal"


@dataclass(frozen=True, slots=True)
class Parameter:
    name: str
    types: str
    accepts: Callable[[Type], bool]
    source: Source = Source.ANY
    # Of a literal argument; returns what is wrong with it, or "".
    problem: Callable[[str | int], str] = lambda _value: ""


@dataclass(frozen=True, slots=True)
class Function:
    """`required` of the parameters must be given; with `repeats` the last one may come again and again.

    `gives` is told the types of the arguments, as far as they matter.
    """

    name: str
    parameters: tuple[Parameter, ...]
    gives: Callable[[Sequence[Type]], Type]
    run: Callable[..., object]
    does: str
    required: int = -1
    repeats: bool = False

    @property
    def least(self) -> int:
        return len(self.parameters) if self.required < 0 else self.required

    def parameter(self, index: int) -> Parameter | None:
        """Of the argument at `index`; None where there is one argument too many."""
        if index < len(self.parameters):
            return self.parameters[index]
        return self.parameters[-1] if self.repeats else None


def as_bytes(value: str) -> bytes:
    """The bytes that a string of the facts stands for."""
    return value.encode("utf-8", "surrogateescape")


def as_text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def lower(value: str) -> str:
    return value.lower() if value.isascii() else as_text(as_bytes(value).lower())


def _upper(value: str) -> str:
    return value.upper() if value.isascii() else as_text(as_bytes(value).upper())


def _length(value: str | Sequence[object]) -> int:
    return len(as_bytes(value)) if isinstance(value, str) else len(value)


def _substring(value: str, start: int, end: int | None = None) -> str:
    return value[start:end] if value.isascii() else as_text(as_bytes(value)[start:end])


def _concat(first: str | Sequence[object], *others: str | Sequence[object]) -> object:
    if isinstance(first, str):
        return first + "".join(other for other in others if isinstance(other, str))
    return [item for part in (first, *others) for item in part]


_ENCODED: Final = re.compile(rb"%([0-9A-Fa-f]{2})|\+")
_ENCODED_UNICODE: Final = re.compile(rb"%([0-9A-Fa-f]{2})|\+|%u([0-9A-Fa-f]{4})")
# A value can be encoded again and again, and each pass costs its length: this deep we follow.
_DECODING_PASSES: Final = 16


def _url_decode(value: str, options: str = "") -> str:
    encoded = _ENCODED_UNICODE if "u" in options else _ENCODED
    text = as_bytes(value)
    for _ in range(_DECODING_PASSES if "r" in options else 1):
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


def _remove_bytes(value: str, removed: str) -> str:
    return as_text(as_bytes(value).translate(None, as_bytes(removed)))


def _encode_base64(value: str, flags: str = "") -> str:
    encoded = (base64.urlsafe_b64encode if "u" in flags else base64.b64encode)(as_bytes(value)).decode()
    return encoded if "p" in flags else encoded.rstrip("=")


_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]*={0,2}")


def _decode_base64(value: str) -> str | None:
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


def _lookup_json_string(document: str, *keys: str | int) -> str | None:
    value = _looked_up(document, keys)
    return value if isinstance(value, str) else None


def _lookup_json_integer(document: str, *keys: str | int) -> int | None:
    value = _looked_up(document, keys)
    if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63:
        return value
    return None


def _to_string(value: bool | int | IPAddress) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _cidr(address: IPAddress, bits4: int, bits6: int) -> IPAddress:
    bits = bits4 if address.version == 4 else bits6
    spare = address.max_prefixlen - bits
    return type(address)(int(address) >> spare << spare)


def _cidr6(address: IPAddress, bits6: int) -> IPAddress:
    return _cidr(address, 32, bits6)


def _has_value(collection: Sequence[object] | Mapping[str, object], value: object) -> bool:
    return value in (collection.values() if isinstance(collection, Mapping) else collection)


def _is(*types: Type) -> Callable[[Type], bool]:
    return lambda given: given in types


def _is_collection(given: Type) -> bool:
    return isinstance(given, Array | Map) and given.of in (STRING, INTEGER)


def _between(low: int, high: int) -> Callable[[str | int], str]:
    return lambda value: (
        "" if isinstance(value, int) and low <= value <= high else f"{low} to {high} is possible"
    )


def _letters(allowed: str) -> Callable[[str | int], str]:
    return lambda value: (
        ""
        if isinstance(value, str) and set(value) <= set(allowed)
        else f"possible letters are {', '.join(allowed)}"
    )


def _not_empty(value: str | int) -> str:
    return "" if value != "" else "it can't be empty"


_STRINGS: Final = Array(STRING)


def _always(given: Type) -> Callable[[Sequence[Type]], Type]:
    return lambda _types: given


def _string(name: str, source: Source = Source.FIELD) -> Parameter:
    return Parameter(name, "string", _is(STRING), source)


def _number(name: str, low: int, high: int) -> Parameter:
    return Parameter(name, "integer", _is(INTEGER), Source.LITERAL, _between(low, high))


_INT = 2**63 - 1
_KEY: Final = Parameter("key", "string or integer", _is(STRING, INTEGER), Source.LITERAL)
_BOOLEANS: Final = Parameter("values", "array of boolean", _is(BOOLEANS))

_TABLE: Final = (
    Function("any", (_BOOLEANS,), _always(BOOLEAN), any, "whether one of the values is true"),
    Function("all", (_BOOLEANS,), _always(BOOLEAN), all, "whether no value is false; true of an empty array"),
    Function(
        "cidr",
        (
            Parameter("address", "address", _is(ADDRESS), Source.FIELD),
            _number("ipv4_bits", 1, 32),
            _number("ipv6_bits", 1, 128),
        ),
        _always(ADDRESS),
        _cidr,
        "the address with only so many of its first bits left",
    ),
    Function(
        "cidr6",
        (Parameter("address", "address", _is(ADDRESS), Source.FIELD), _number("ipv6_bits", 1, 128)),
        _always(ADDRESS),
        _cidr6,
        "the same for IPv6; an IPv4 address stays as it is",
    ),
    Function(
        "concat",
        (Parameter("values", "string or array of string", _is(STRING, _STRINGS)),),
        lambda types: types[0],
        _concat,
        "the values one after the other: strings, or arrays",
        repeats=True,
    ),
    Function(
        "decode_base64",
        (_string("source"),),
        _always(STRING),
        _decode_base64,
        "what the Base64 text stands for, in either alphabet; missing when it is none",
    ),
    Function(
        "encode_base64",
        (
            _string("source", Source.ANY),
            Parameter("flags", "string", _is(STRING), Source.LITERAL, _letters("up")),
        ),
        _always(STRING),
        _encode_base64,
        "Base64; flags: u for the alphabet of URLs, p to pad with =",
        required=1,
    ),
    Function(
        "ends_with",
        (_string("source"), _string("end", Source.ANY)),
        _always(BOOLEAN),
        str.endswith,
        "whether the source ends so",
    ),
    Function(
        "has_key",
        (Parameter("map", "map", lambda given: isinstance(given, Map)), _string("key", Source.ANY)),
        _always(BOOLEAN),
        lambda values, key: key in values,
        "whether the map has the key",
    ),
    Function(
        "has_value",
        (
            Parameter("collection", "array or map, of strings or integers", _is_collection),
            Parameter("value", "string or integer", _is(STRING, INTEGER)),
        ),
        _always(BOOLEAN),
        _has_value,
        "whether one of the values is equal to this one",
    ),
    Function(
        "join",
        (
            Parameter("items", "array of string", _is(_STRINGS), Source.FIELD),
            _string("separator", Source.ANY),
        ),
        _always(STRING),
        lambda items, separator: separator.join(items),
        "the items as one string, with the separator in between",
    ),
    Function(
        "len",
        (
            Parameter(
                "value",
                "string or array",
                lambda given: given == STRING or isinstance(given, Array),
                Source.FIELD,
            ),
        ),
        _always(INTEGER),
        _length,
        "the bytes of a string, or the items of an array",
    ),
    Function(
        "lookup_json_integer",
        (_string("document"), _KEY),
        _always(INTEGER),
        _lookup_json_integer,
        "the integer in a JSON document, by attribute names and positions from 0; missing when there is none",
        repeats=True,
    ),
    Function(
        "lookup_json_string",
        (_string("document"), _KEY),
        _always(STRING),
        _lookup_json_string,
        "the string in a JSON document, likewise",
        repeats=True,
    ),
    Function("lower", (_string("source"),), _always(STRING), lower, "ASCII letters in lower case"),
    Function(
        "remove_bytes",
        (_string("source"), _string("bytes", Source.LITERAL)),
        _always(STRING),
        _remove_bytes,
        "the source without any of these bytes",
    ),
    Function(
        "sha256",
        (_string("source", Source.ANY),),
        _always(STRING),
        lambda value: as_text(hashlib.sha256(as_bytes(value)).digest()),
        "the 32 bytes of the hash",
    ),
    Function(
        "sha512",
        (_string("source", Source.ANY),),
        _always(STRING),
        lambda value: as_text(hashlib.sha512(as_bytes(value)).digest()),
        "the 64 bytes of the hash",
    ),
    Function(
        "split",
        (
            _string("source"),
            Parameter("separator", "string", _is(STRING), Source.LITERAL, _not_empty),
            _number("limit", 1, 128),
        ),
        _always(_STRINGS),
        lambda value, separator, limit: value.split(separator, limit - 1),
        "the parts between separators; the last of at most `limit` has the rest",
    ),
    Function(
        "starts_with",
        (_string("source"), _string("start", Source.ANY)),
        _always(BOOLEAN),
        str.startswith,
        "whether the source begins so",
    ),
    Function(
        "substring",
        (_string("source"), _number("start", -_INT, _INT), _number("end", -_INT, _INT)),
        _always(STRING),
        _substring,
        "bytes from start up to, and without, end; negative positions count from the end",
        required=2,
    ),
    Function(
        "to_string",
        (Parameter("value", "integer, boolean or address", _is(INTEGER, BOOLEAN, ADDRESS), Source.FIELD),),
        _always(STRING),
        _to_string,
        "the value as text",
    ),
    Function("upper", (_string("source"),), _always(STRING), _upper, "ASCII letters in upper case"),
    Function(
        "url_decode",
        (_string("source"), Parameter("options", "string", _is(STRING), Source.LITERAL, _letters("ru"))),
        _always(STRING),
        _url_decode,
        f"%XX and + decoded; options: r for again, up to {_DECODING_PASSES} times, while it changes, u for %uXXXX",
        required=1,
    ),
)

FUNCTIONS: Final[Mapping[str, Function]] = {function.name: function for function in _TABLE}
