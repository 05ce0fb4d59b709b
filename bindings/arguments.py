"""Check what a guest sent, and say which argument was wrong and what would be right.

Everything here is hostile: any MessagePack value may stand where a string is expected.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

import msgspec

from model.errors import OperationError, OperationErrorCode

#: A JSON value that we keep comes back in a reply, which nests at most 32 deep with what is around it.
JSON_DEPTH: Final = 24
_NO_OPTIONS: Final[Mapping[str, Any]] = {}
_TYPE_NAMES: Final = {
    type(None): "nil",
    bool: "a boolean",
    int: "an integer",
    float: "a float",
    str: "a string",
    bytes: "bytes",
    list: "an array",
    tuple: "an array",
    dict: "a map",
}


def invalid(message: str) -> NoReturn:
    """Raise OperationError(invalid_argument)."""
    raise OperationError(OperationErrorCode.INVALID_ARGUMENT, message)


def type_name(value: object) -> str:
    """What a guest would call the type of `value`."""
    return _TYPE_NAMES.get(type(value), "a value of another type")


def check_count(operation: str, args: Sequence[object], least: int, most: int, names: str) -> None:
    """`names` lists the arguments as the reference does: "key, options?"."""
    if not least <= len(args) <= most:
        invalid(f"{operation} takes ({names}); {len(args)} arguments were given")


def parse_options(operation: str, value: object, allowed: frozenset[str]) -> Mapping[str, Any]:
    """An options map, or nil for none. A key that isn't there for a reason is a typo: refused."""
    if value is None:
        return _NO_OPTIONS
    if not isinstance(value, dict):
        invalid(f"{operation}: options: {type_name(value)}; a map is right")
    for name in value:
        if name not in allowed:
            shown = repr(name[:64]) if isinstance(name, str) else type_name(name)
            invalid(f"{operation}: options: {shown} is unknown; {', '.join(sorted(allowed))} are right")
    return value


def parse_int(name: str, value: object, least: int, most: int) -> int:
    # bool is an int to Python, and never meant here.
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        shown = str(value) if type(value) is int else type_name(value)
        invalid(f"{name}: {shown}; an integer from {least} to {most} is right")
    return value


def parse_str(name: str, value: object, most_bytes: int) -> str:
    """A string of at most `most_bytes` bytes of UTF-8."""
    if not isinstance(value, str):
        invalid(f"{name}: {type_name(value)}; a string is right")
    size = utf8_size(name, value)
    if size > most_bytes:
        invalid(f"{name}: {size} bytes of UTF-8; at most {most_bytes} are right")
    return value


def utf8_size(name: str, text: str) -> int:
    """In bytes. Refuses lone surrogates, which JSON can spell and UTF-8 can't."""
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        invalid(f"{name}: holds half of a surrogate pair; valid Unicode is right")


def encode_json(name: str, value: object) -> str:
    """JSON text of a value that has one: no bytes, NaN, infinities, or keys that are no strings.

    At most 24 deep and within 64-bit integers, so that the value can come back the way it came.
    """
    _check_json(name, value, JSON_DEPTH)
    # Not msgspec: it writes NaN as null and bytes as base64, and the sender would never know.
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def decode_json(text: str | bytes) -> Any:
    """What `encode_json` made, as a value. Raises ValueError for what it would not have made."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error


def _check_json(name: str, value: object, depth: int) -> None:
    kind = type(value)
    if kind is str:
        utf8_size(name, value)  # type: ignore[arg-type]  # mypy doesn't narrow by `type() is`, which is faster
    elif value is None or kind is bool:
        return
    elif kind is int:
        if not -(1 << 63) <= value < 1 << 64:  # type: ignore[operator]
            invalid(f"{name}: an integer beyond 64 bits; send it as a string")
    elif kind is float:
        if value != value or value in (float("inf"), float("-inf")):
            invalid(f"{name}: NaN and infinities have no JSON; send nil or a string")
    elif depth == 0:
        invalid(f"{name}: nested more than {JSON_DEPTH} deep")
    elif isinstance(value, list | tuple):
        for item in value:
            _check_json(name, item, depth - 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                invalid(f"{name}: a map's key is {type_name(key)}; JSON has only strings there")
            utf8_size(name, key)
            _check_json(name, item, depth - 1)
    else:
        invalid(f"{name}: {type_name(value)} has no JSON; send it as content_type bytes, or as a string")
