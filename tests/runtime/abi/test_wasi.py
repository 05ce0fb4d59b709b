"""WASI preview 1 gives a worker clocks, randomness, its variables and two streams of lines; all else an errno."""

from __future__ import annotations

import time

import pytest

from runtime.abi.core_module.host_calls import LINE_BYTES, GuestIo
from runtime.abi.core_module.wasi import (
    BADF,
    FAULT,
    INVAL,
    NOSYS,
    NOTCAPABLE,
    SUCCESS,
    WASI_FUNCTIONS,
    GuestExit,
    flush,
)
from runtime.capi.guest import AbiViolation, Guest
from runtime.signatures import WASI_SIGNATURES
from tests.runtime.calling import PAGE, caller

pytestmark = pytest.mark.usefixtures("driver")

VARIABLES = (b"A=1\0", "Bé=ü\0".encode(), b"C=\0")


def test_table_has_every_function_of_preview_1() -> None:
    assert set(WASI_FUNCTIONS) == set(WASI_SIGNATURES)
    assert len(WASI_FUNCTIONS) >= 45


@pytest.mark.parametrize("name", sorted(set(WASI_SIGNATURES) - {"proc_exit"}))
@pytest.mark.parametrize("value", [0, 1, 3, -1])
def test_no_function_with_any_argument_is_more_than_an_errno_or_a_violation(name: str, value: int) -> None:
    with caller(name, *([value] * len(WASI_SIGNATURES[name].params))) as guest:
        try:
            errno = guest.call()
        except AbiViolation as violation:
            assert "outside of memory" in str(violation)  # noqa: PT017 - either is right
        else:
            assert errno in (SUCCESS, BADF, FAULT, INVAL, NOSYS, NOTCAPABLE)


@pytest.mark.parametrize("clock", [0, 1, 2, 3])
def test_clock_stands_still_where_the_guest_is_not_trusted(clock: int) -> None:
    with caller("clock_time_get", clock, 0, 64) as guest:
        guest.guest.clock_ns = 1_700_000_000_123_000_000
        for _ in range(3):
            assert guest.call() == SUCCESS
            assert guest.u64(64) == 1_700_000_000_123_000_000


def test_clock_is_the_real_one_where_the_guest_is_trusted() -> None:
    with caller("clock_time_get", 0, 0, 64) as guest:
        guest.guest.clock_ns = None
        before = time.time_ns()
        assert guest.call() == SUCCESS
        assert before <= guest.u64(64) <= time.time_ns()


@pytest.mark.parametrize("clock", [4, 5, -1])
@pytest.mark.parametrize(("name", "more"), [("clock_time_get", (0, 64)), ("clock_res_get", (64,))])
def test_unknown_clock_is_invalid(clock: int, name: str, more: tuple[int, ...]) -> None:
    with caller(name, clock, *more) as guest:
        assert guest.call() == INVAL


def test_clock_resolution_is_a_millisecond() -> None:
    with caller("clock_res_get", 1, 64) as guest:
        assert guest.call() == SUCCESS
        assert guest.u64(64) == 1_000_000


def test_random_bytes_differ() -> None:
    with caller("random_get", 0, 32) as guest:
        seen = set()
        for _ in range(5):
            assert guest.call() == SUCCESS
            seen.add(guest.guest.read(0, 32))
        assert len(seen) == 5
        assert guest.guest.read(32, 8) == bytes(8)


@pytest.mark.parametrize(
    ("pointer", "size", "errno"),
    [
        (0, 0, SUCCESS),
        (0, PAGE, SUCCESS),
        (PAGE - 1, 1, SUCCESS),
        (PAGE, 0, SUCCESS),
        (PAGE, 1, FAULT),
        (-1, 1, FAULT),
        (0, PAGE + 1, FAULT),
        (0, (1 << 20) + 1, INVAL),
        (0, -1, INVAL),
    ],
)
def test_random_stays_within_memory_and_a_bound(pointer: int, size: int, errno: int) -> None:
    with caller("random_get", pointer, size) as guest:
        assert guest.call() == errno


def test_arguments_are_one_name() -> None:
    with caller("args_sizes_get", 0, 4) as guest:
        assert guest.call() == SUCCESS
        assert (guest.u32(0), guest.u32(4)) == (1, 7)
    with caller("args_get", 0, 16) as guest:
        assert guest.call() == SUCCESS
        assert guest.guest.read(guest.u32(0), 7) == b"worker\0"


def test_environment_is_the_plain_text_variables() -> None:
    io = GuestIo(10, 1000, VARIABLES)
    with caller("environ_sizes_get", 0, 4, io=io) as guest:
        assert guest.call() == SUCCESS
        assert (guest.u32(0), guest.u32(4)) == (3, sum(map(len, VARIABLES)))
    with caller("environ_get", 0, 64, io=io) as guest:
        assert guest.call() == SUCCESS
        for index, variable in enumerate(VARIABLES):
            assert guest.guest.read(guest.u32(4 * index), len(variable)) == variable


@pytest.mark.parametrize(("environ", "buffer"), [(0, -1), (0, PAGE - 2), (PAGE - 4, 0), (-4, 0)])
def test_environment_outside_of_memory_is_a_violation(environ: int, buffer: int) -> None:
    io = GuestIo(10, 1000, VARIABLES)
    with caller("environ_get", environ, buffer, io=io) as guest, pytest.raises(AbiViolation):
        guest.call()


def write(io: GuestIo, fd: int, *parts: bytes) -> int:
    """One fd_write of `parts`: its errno; the count that it reports is checked."""
    with caller("fd_write", fd, 0, len(parts), 1000, io=io) as guest:
        at = 2000
        for index, part in enumerate(parts):
            guest.put(8 * index, at, len(part))
            guest.guest.write(at, part)
            at += len(part)
        errno = guest.call()
        if errno == SUCCESS:
            assert guest.u32(1000) == sum(map(len, parts))
        return errno


def test_output_becomes_lines_and_what_is_left_at_the_end_is_one_too() -> None:
    io = GuestIo(10, 1000)
    assert write(io, 1, b"one\ntw", b"o\nthr") == SUCCESS
    assert write(io, 2, b"oops\n") == SUCCESS
    assert io.lines == [(1, b"one"), (1, b"two"), (3, b"oops")]
    assert write(io, 1, b"ee") == SUCCESS
    flush(io)
    assert io.lines[3:] == [(1, b"three")]
    flush(io)
    assert len(io.lines) == 4


def test_output_over_the_limit_of_lines_is_counted_and_dropped() -> None:
    io = GuestIo(3, 1000)
    write(io, 1, b"1\n2\n3\n4\n5\nrest")
    assert [text for _, text in io.lines] == [b"1", b"2", b"3"]
    assert io.dropped == 2
    write(io, 1, b"\n" * 50_000)
    assert io.dropped == 2 + 50_000
    assert len(io.lines) == 3


def test_output_over_the_limit_of_bytes_is_cut() -> None:
    io = GuestIo(100, 10)
    write(io, 1, b"12345\n678901234\nmore\n")
    assert [text for _, text in io.lines] == [b"12345", b"6789"]
    assert write(io, 1, b"again\n") == SUCCESS
    assert len(io.lines) == 2
    assert io.dropped >= 2


def test_line_without_an_end_is_kept_in_bounded_memory() -> None:
    io = GuestIo(100, 1 << 20)
    for _ in range(4):
        write(io, 1, b"x" * 60_000)
    assert len(io.stdout) <= 128 * 1024
    flush(io)
    assert all(len(text) <= LINE_BYTES for _, text in io.lines)


@pytest.mark.parametrize("fd", [0, 3, 4, -1])
def test_other_descriptors_are_bad(fd: int) -> None:
    assert write(GuestIo(10, 1000), fd, b"x\n") == BADF


@pytest.mark.parametrize(
    ("words", "count", "errno"),
    [
        ((), 0, SUCCESS),
        ((), 1024, SUCCESS),
        ((), 1025, INVAL),
        ((), -1, INVAL),
    ],
)
def test_number_of_iovecs_is_bounded(words: tuple[int, ...], count: int, errno: int) -> None:
    with caller("fd_write", 1, 16_384, count, 0) as guest:
        assert guest.call() == errno


@pytest.mark.parametrize(
    ("pointer", "size"), [(PAGE, 1), (PAGE - 1, 2), (2**32 - 1, 1), (2**32 - 1, 2**32 - 1), (8, 2**32 - 1)]
)
def test_iovec_outside_of_memory_is_a_violation_and_a_huge_one_a_short_write(pointer: int, size: int) -> None:
    with caller("fd_write", 1, 0, 1, 1000) as guest:
        guest.put(0, pointer, size)
        with pytest.raises(AbiViolation):
            guest.call()


def test_write_of_more_than_64_kib_is_short() -> None:
    with caller("fd_write", 1, 0, 2, 1000, io=GuestIo(10, 1 << 20)) as guest:
        guest.put(0, 0, PAGE - 10, 0, 500)
        assert guest.call() == SUCCESS
        assert guest.u32(1000) == PAGE


@pytest.mark.parametrize("iovecs", [PAGE - 7, PAGE, -8])
def test_table_of_iovecs_outside_of_memory_is_a_violation(iovecs: int) -> None:
    with caller("fd_write", 1, iovecs, 1, 0) as guest, pytest.raises(AbiViolation):
        guest.call()


@pytest.mark.parametrize(("fd", "errno"), [(0, SUCCESS), (1, BADF), (3, BADF)])
def test_standard_input_is_at_its_end(fd: int, errno: int) -> None:
    with caller("fd_read", fd, 0, 0, 100) as guest:
        guest.put(100, 77)
        assert guest.call() == errno
        assert guest.u32(100) == (0 if errno == SUCCESS else 77)


@pytest.mark.parametrize(("fd", "errno"), [(0, SUCCESS), (1, SUCCESS), (2, SUCCESS), (3, BADF), (-1, BADF)])
def test_standard_streams_are_character_devices(fd: int, errno: int) -> None:
    with caller("fd_fdstat_get", fd, 64) as guest:
        guest.guest.write(64, b"\xff" * 32)
        assert guest.call() == errno
        if errno == SUCCESS:
            assert guest.guest.read(64, 2) == b"\2\0"
            assert guest.guest.read(88, 8) == b"\xff" * 8, "24 bytes and no more"


@pytest.mark.parametrize("code", [0, 1, 7, -1])
def test_proc_exit_ends_the_event_with_its_code(code: int) -> None:
    with caller("proc_exit", code) as guest:
        with pytest.raises(GuestExit, match=r"proc_exit\(") as caught:
            guest.call()
        assert caught.value.code == code & 0xFFFF_FFFF


def test_no_function_reaches_a_file_or_socket() -> None:
    for name in WASI_SIGNATURES:
        if name.startswith(("path_", "sock_")):
            with caller(name, *([3] * len(WASI_SIGNATURES[name].params))) as guest:
                assert guest.call() == BADF


def test_wasi_needs_an_event() -> None:
    guest = object.__new__(Guest)
    guest.data = None
    with pytest.raises(AbiViolation):
        WASI_FUNCTIONS["environ_sizes_get"](guest, 0, 4)
