"""Values of the module ABI as MessagePack, both ways: what may be in them, how many, how deep. Pure.

What comes from a guest is hostile: everything here ends in plain values or in AbiViolation.
Source: docs/guest-abi.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgpack
import msgspec

from runtime.capi.guest import AbiViolation

#: The depth of a value.
NESTING: Final = 32
#: Of one call, or of what a `queue` handler returns: strings, numbers, arrays and maps, map keys not counted.
VALUES: Final = 32_768
#: Of fewer bytes nothing is counted: each value has at least one.
FEW_VALUES_BYTES: Final = 16 * 1024

#: What a value that is no array or map may be.
LEAVES: Final = frozenset({str, bytes, int, float, bool, type(None)})

_pack: Final[Callable[[object], bytes]] = msgpack.Packer(use_bin_type=True).pack
#: The same bytes in a third of the time; but it takes more than MessagePack's own types (a set, a date).
pack_known: Final[Callable[[object], bytes]] = msgspec.msgpack.Encoder().encode


def encode(value: object) -> bytes:
    """Any value of ours. Raises AbiViolation for one that MessagePack cannot carry (an integer over 64 bits)."""
    try:
        return _pack(value)
    except (OverflowError, ValueError, TypeError) as error:
        raise AbiViolation(f"a value cannot be carried as MessagePack: {error}") from error


def _no_extension(code: int, data: bytes) -> object:
    raise AbiViolation(f"MessagePack extension type {code} is not part of the ABI")


def decode(data: bytes, what: str) -> Any:
    """One MessagePack value of plain types, at most NESTING deep. Raises AbiViolation naming `what`."""
    value = unpack(data, what)
    if value.__class__ not in LEAVES:
        check_depth(value, what)
    return value


def unpack(data: bytes, what: str) -> Any:
    """As `decode`, but its types and depth are still to be checked."""
    try:
        if len(data) <= FEW_VALUES_BYTES:
            return msgpack.unpackb(data, ext_hook=_no_extension)
        return _unpack_counted(data, what)
    except AbiViolation:
        raise
    except Exception as error:
        # msgpack raises ValueError, its own subclasses and UnicodeDecodeError, and for map keys TypeError.
        why = _WHY.get(type(error)) or f"{type(error).__name__}: {error}"
        raise AbiViolation(f"{what} is no MessagePack of the ABI: {why}") from error


#: Where msgpack's own exceptions say nothing.
_WHY: Final[dict[type[Exception], str]] = {
    msgpack.FormatError: "a byte that begins no value",
    msgpack.StackError: f"nested deeper than {NESTING}",
    msgpack.OutOfData: "it ends in the middle of a value",
}


def _unpack_counted(data: bytes, what: str) -> Any:
    """Large by its strings or not at all: a million empty maps would hold the loop up for 350 ms."""
    left = VALUES

    def count(container: Any) -> Any:
        nonlocal left
        left -= len(container)
        if left < 0:
            raise AbiViolation(f"{what} has more than {VALUES} values; larger data travels as bin or str")
        return container

    return msgpack.unpackb(
        data,
        ext_hook=_no_extension,
        list_hook=count,
        object_hook=count,
        max_array_len=VALUES,
        max_map_len=VALUES,
    )


def check_depth(value: object, what: str) -> None:
    """Level by level: a call for each value would cost more than the decoding."""
    level = [value]
    for _ in range(NESTING):
        below: list[object] = []
        for container in level:
            if container.__class__ is list:
                items: Any = container
            elif container.__class__ is dict:
                items = container.values()
            else:
                raise AbiViolation(f"{what} has a {type(container).__name__}, which is not part of the ABI")
            # A comprehension costs a frame: too much for pairs, of which headers are made.
            for item in items:
                if item.__class__ not in LEAVES:
                    below.append(item)  # noqa: PERF401
        if not below:
            return
        level = below
    raise AbiViolation(f"{what} is nested deeper than {NESTING}")


def is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
