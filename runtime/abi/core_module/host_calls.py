"""The imports of `tenantry_v1`, as host functions: they run on the guest's stack, so they copy and count.

`GuestIo` is what they leave behind for the driver, one for each event.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from runtime.abi.core_module.calls import CALL_BYTES
from runtime.capi.guest import AbiViolation, Guest

#: Of one line: longer ones are cut, with a mark.
LINE_BYTES: Final = 16 * 1024
#: The highest level of a line: an exception that nobody caught. Its readers see an error.
UNCAUGHT: Final = 5
ERROR: Final = 4


class GuestIo:
    """Lines and standard output that a guest wrote since the driver last looked, within its limits.

    `lines` are (level, text bytes). What is over `max_lines` or `max_bytes` is counted and dropped.
    """

    __slots__ = ("bytes_left", "dropped", "lines", "lines_left", "stderr", "stdout", "variables")

    def __init__(self, max_lines: int, max_bytes: int, variables: tuple[bytes, ...] = ()) -> None:
        self.lines: list[tuple[int, bytes]] = []
        self.lines_left = max_lines
        self.bytes_left = max_bytes
        self.dropped = 0
        self.stdout = b""
        self.stderr = b""
        #: `NAME=VALUE\0` of each plain-text variable, for WASI's environment.
        self.variables = variables

    def room_for(self, size: int) -> int:
        """How many of `size` bytes of a line may be kept: counts the line; 0 and counted when over."""
        if self.lines_left <= 0 or self.bytes_left <= 0:
            self.dropped += 1
            return 0
        self.lines_left -= 1
        keep = min(size, self.bytes_left, LINE_BYTES)
        self.bytes_left -= keep
        return keep


def _io(guest: Guest) -> GuestIo:
    data = guest.data
    if not isinstance(data, GuestIo):
        raise AbiViolation("the host can't be called while a module is tried out")
    return data


def call(guest: Guest, pointer: int, size: int) -> None:
    if size > CALL_BYTES:
        raise AbiViolation(f"call: {size} bytes; at most {CALL_BYTES}")
    guest.suspend(guest.read(pointer, size))


def take(guest: Guest, pointer: int, offset: int, size: int) -> int:
    data = guest.reply[offset : offset + size]
    guest.write(pointer, data)
    return len(data)


def log(guest: Guest, level: int, pointer: int, size: int) -> None:
    io = _io(guest)
    keep = io.room_for(size + 1)  # the line end counts, so that empty lines are not free
    if keep:
        text = guest.read(pointer, min(keep, size))
        io.lines.append((min(level, UNCAUGHT), text if len(text) == size else text + b" [cut]"))


CORE_FUNCTIONS: Final[dict[str, Callable[..., int | None]]] = {"call": call, "take": take, "log": log}
