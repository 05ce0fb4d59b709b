"""The functions an expression may call: what they take, what they give, what they do.

A missing argument makes the result missing; a function sees values only, and returns None for a missing result.
None of them raises, or takes more than time in proportion to its arguments. docs/expressions.md shows this table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from expressions import function_bodies as bodies
from expressions import strings
from expressions.schema import ADDRESS, BOOLEAN, BOOLEANS, INTEGER, STRING, Array, Map, Type


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
        bodies.cidr,
        "the address with only so many of its first bits left",
    ),
    Function(
        "cidr6",
        (Parameter("address", "address", _is(ADDRESS), Source.FIELD), _number("ipv6_bits", 1, 128)),
        _always(ADDRESS),
        bodies.cidr6,
        "the same for IPv6; an IPv4 address stays as it is",
    ),
    Function(
        "concat",
        (Parameter("values", "string or array of string", _is(STRING, _STRINGS)),),
        lambda types: types[0],
        bodies.concat,
        "two or more values one after the other: strings, or arrays",
        required=2,
        repeats=True,
    ),
    Function(
        "decode_base64",
        (_string("source"),),
        _always(STRING),
        bodies.decode_base64,
        "what the Base64 text stands for, in either alphabet; missing when it is none",
    ),
    Function(
        "encode_base64",
        (
            _string("source", Source.ANY),
            Parameter("flags", "string", _is(STRING), Source.LITERAL, _letters("up")),
        ),
        _always(STRING),
        bodies.encode_base64,
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
        (Parameter("map", "map", lambda given: isinstance(given, Map)), _string("key", Source.LITERAL)),
        _always(BOOLEAN),
        bodies.has_key,
        "whether the map has the key",
    ),
    Function(
        "has_value",
        (
            Parameter("collection", "array or map, of strings or integers", _is_collection),
            Parameter("value", "string or integer", _is(STRING, INTEGER)),
        ),
        _always(BOOLEAN),
        bodies.has_value,
        "whether one of the values is equal to this one",
    ),
    Function(
        "join",
        (
            Parameter("items", "array of string", _is(_STRINGS), Source.FIELD),
            _string("separator", Source.ANY),
        ),
        _always(STRING),
        bodies.join,
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
        bodies.length,
        "the bytes of a string, or the items of an array",
    ),
    Function(
        "lookup_json_integer",
        (_string("document"), _KEY),
        _always(INTEGER),
        bodies.lookup_json_integer,
        "the integer in a JSON document, by attribute names and positions from 0; missing when there is none",
        repeats=True,
    ),
    Function(
        "lookup_json_string",
        (_string("document"), _KEY),
        _always(STRING),
        bodies.lookup_json_string,
        "the string in a JSON document, likewise",
        repeats=True,
    ),
    Function("lower", (_string("source"),), _always(STRING), strings.lower, "ASCII letters in lower case"),
    Function(
        "remove_bytes",
        (_string("source"), _string("bytes", Source.LITERAL)),
        _always(STRING),
        bodies.remove_bytes,
        "the source without any of these bytes",
    ),
    Function(
        "sha256",
        (_string("source", Source.ANY),),
        _always(STRING),
        bodies.sha256,
        "the 32 bytes of the hash",
    ),
    Function(
        "sha512",
        (_string("source", Source.ANY),),
        _always(STRING),
        bodies.sha512,
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
        bodies.split,
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
        bodies.substring,
        "bytes from start up to, and without, end; negative positions count from the end",
        required=2,
    ),
    Function(
        "to_string",
        (Parameter("value", "integer, boolean or address", _is(INTEGER, BOOLEAN, ADDRESS), Source.FIELD),),
        _always(STRING),
        bodies.to_string,
        "the value as text",
    ),
    Function("upper", (_string("source"),), _always(STRING), bodies.upper, "ASCII letters in upper case"),
    Function(
        "url_decode",
        (_string("source"), Parameter("options", "string", _is(STRING), Source.LITERAL, _letters("ru"))),
        _always(STRING),
        bodies.url_decode,
        f"%XX and + decoded; options: r, again while it changes, up to {bodies.DECODING_PASSES} times; u for %uXXXX",
        required=1,
    ),
)

FUNCTIONS: Final[Mapping[str, Function]] = {function.name: function for function in _TABLE}
