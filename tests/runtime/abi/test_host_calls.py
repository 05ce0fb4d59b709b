"""`call`, `take` and `log` copy within bounds, count, and keep to the event's limits."""

from __future__ import annotations

import pytest

from runtime.abi.core_module.host_calls import LINE_BYTES, GuestIo
from runtime.capi.guest import AbiViolation
from tests.runtime.calling import PAGE, caller

pytestmark = pytest.mark.usefixtures("driver")

OUTSIDE = [(PAGE, 1), (PAGE - 1, 2), (-1, 1), (0, PAGE + 1), (1, -1)]


@pytest.mark.parametrize(("pointer", "size"), [*OUTSIDE[:3], (PAGE - LINE_BYTES + 1, PAGE), (PAGE, -1)])
def test_log_of_bytes_outside_of_memory_is_a_violation(pointer: int, size: int) -> None:
    with caller("log", 1, pointer, size, io=GuestIo(10, 1 << 20)) as guest, pytest.raises(AbiViolation):
        guest.call()


@pytest.mark.parametrize(("pointer", "size"), [(0, PAGE + 1), (1, -1), (PAGE - LINE_BYTES, -1)])
def test_line_is_cut_before_it_is_read(pointer: int, size: int) -> None:
    with caller("log", 1, pointer, size, io=GuestIo(10, 1 << 20)) as guest:
        guest.call()
        assert len(guest.io.lines[0][1]) == LINE_BYTES + len(b" [cut]")


@pytest.mark.parametrize(
    ("level", "kept"),
    [(0, 0), (1, 1), (4, 4), (5, 5), (6, 5), (-1, 5)],
    ids=["debug", "info", "error", "uncaught", "6", "-1"],
)
def test_line_is_logged_with_its_level(level: int, kept: int) -> None:
    with caller("log", level, 8, 5) as guest:
        guest.guest.write(8, b"hello")
        assert guest.call() == 4242
        assert guest.io.lines == [(kept, b"hello")]


@pytest.mark.parametrize(
    ("size", "cut"), [(0, False), (LINE_BYTES - 1, False), (LINE_BYTES, False), (LINE_BYTES + 1, True)]
)
def test_long_line_is_cut_with_a_mark(size: int, cut: bool) -> None:
    with caller("log", 1, 0, size, io=GuestIo(10, 1 << 20)) as guest:
        guest.call()
        [(_, text)] = guest.io.lines
        assert text.endswith(b" [cut]") is cut
        assert len(text) == min(size, LINE_BYTES) + (6 if cut else 0)


def test_lines_over_the_limit_are_counted_and_dropped() -> None:
    with caller("log", 1, 0, 3, io=GuestIo(2, 1000)) as guest:
        for _ in range(5):
            guest.call()
        assert len(guest.io.lines) == 2
        assert guest.io.dropped == 3


def test_bytes_over_the_limit_are_cut_and_dropped() -> None:
    with caller("log", 1, 0, 6, io=GuestIo(100, 10)) as guest:
        for _ in range(4):
            guest.call()
        assert [len(text) for _, text in guest.io.lines] == [6, 3 + len(b" [cut]")]
        assert guest.io.dropped == 2


def test_empty_lines_are_not_free() -> None:
    with caller("log", 1, 0, 0, io=GuestIo(100, 4)) as guest:
        for _ in range(6):
            guest.call()
        assert len(guest.io.lines) == 4


@pytest.mark.parametrize(
    ("offset", "size", "copied"),
    [
        (0, 10, b"0123456789"),
        (0, 4, b"0123"),
        (8, 10, b"89"),
        (10, 1, b""),
        (11, 1, b""),
        (-1, 5, b""),
        (0, 0, b""),
    ],
)
def test_take_copies_what_there_is_from_the_offset(offset: int, size: int, copied: bytes) -> None:
    with caller("take", 100, offset, size) as guest:
        guest.guest.reply = b"0123456789"
        assert guest.call() == len(copied)
        assert guest.guest.read(100, len(copied) + 1) == copied + b"\0"


def test_take_without_a_reply_copies_nothing() -> None:
    with caller("take", 0, 0, 100) as guest:
        assert guest.call() == 0


@pytest.mark.parametrize(("pointer", "size"), [(PAGE - 5, 10), (-1, 1), (PAGE + 1, 0)])
def test_take_to_outside_of_memory_is_a_violation(pointer: int, size: int) -> None:
    with caller("take", pointer, 0, size) as guest:
        guest.guest.reply = b"0123456789"
        with pytest.raises(AbiViolation, match="outside of memory"):
            guest.call()


@pytest.mark.parametrize(("pointer", "size"), [*OUTSIDE, (0, (1 << 20) + 1)])
def test_call_with_bytes_outside_of_memory_or_too_many_is_a_violation(pointer: int, size: int) -> None:
    with caller("call", pointer, size) as guest, pytest.raises(AbiViolation):
        guest.call()


@pytest.mark.parametrize("size", [0, 1, PAGE])
def test_call_suspends_with_a_copy_of_its_bytes(size: int) -> None:
    with caller("call", 0, size) as caller_:
        guest = caller_.guest
        guest.write(0, b"q" * size)
        guest.begin_call("handler", 0, 0)
        assert not guest.poll()
        assert guest.wanted == b"q" * size
        guest.resume(2**32 - 1)
        assert guest.poll()
        guest.finish()
        assert guest.result_i64() == 2**32 - 1
