"""How an event ended, by what its sandbox met."""

from __future__ import annotations

import pytest

from model.limits import MIB, Limits
from model.outcome import EventOutcome
from runtime.abi.core_module.codec import GuestException
from runtime.abi.core_module.wasi import GuestExit
from runtime.capi.failures import GuestTrap, PoolExhausted, TrapCode
from runtime.capi.guest import AbiViolation, DeltaDoesNotFit
from runtime.metering import BACKGROUND, CANCELED, SHUTDOWN, WALL, Ending, ending_of_failure, ending_of_stop

LIMITS = Limits(cpu_ms=50, wall_ms=1_500, memory_bytes=100 * MIB, background_ms=2_000)


@pytest.mark.parametrize(
    ("why", "outcome", "words"),
    [
        ("cpu", EventOutcome.EXCEEDED_CPU, ["51 ms", "limit is 50 ms", "limits.cpu_ms"]),
        (WALL, EventOutcome.EXCEEDED_WALL_TIME, ["1.5 s", "limits.wall_ms"]),
        (BACKGROUND, EventOutcome.EXCEEDED_WALL_TIME, ["2 s", "after its response"]),
        (SHUTDOWN, EventOutcome.CANCELED, ["restarted"]),
        (CANCELED, EventOutcome.CANCELED, ["visitor left"]),
    ],
)
def test_stop_is_named_with_its_limit(why: str, outcome: EventOutcome, words: list[str]) -> None:
    ending = ending_of_stop(why, LIMITS, 51_000_000)
    assert ending.outcome is outcome
    for word in words:
        assert word in ending.message


@pytest.mark.parametrize(
    ("failure", "memory", "outcome", "words"),
    [
        (GuestTrap("wasm trap: unreachable", 9), 0, EventOutcome.EXCEPTION, "unreachable"),
        (GuestTrap("t", 9), 90 * MIB - 1, EventOutcome.EXCEPTION, "t"),
        (GuestTrap("t", 9), 90 * MIB, EventOutcome.EXCEEDED_MEMORY, "used 90 MiB"),
        (GuestTrap("t", TrapCode.NONE), 100 * MIB, EventOutcome.EXCEEDED_MEMORY, "limit is 100 MiB"),
        (GuestTrap("t", TrapCode.STACK_OVERFLOW), 0, EventOutcome.EXCEPTION, "recursion"),
        (GuestTrap("", 9), 0, EventOutcome.EXCEPTION, "trap"),
        (
            GuestTrap("backtrace:\n 0: f\n\nCaused by:\n    0: x\n    1: deep\n", 9),
            0,
            EventOutcome.EXCEPTION,
            "1: deep",
        ),
        (AbiViolation("bad bytes"), 0, EventOutcome.EXCEPTION, "bad bytes"),
        (AbiViolation("`alloc` had no room"), 95 * MIB, EventOutcome.EXCEEDED_MEMORY, "95 MiB"),
        (GuestExit(7), 0, EventOutcome.EXCEPTION, "proc_exit(7)"),
        (GuestException("code: words"), 0, EventOutcome.EXCEPTION, "code: words"),
        (GuestException("code: words"), 100 * MIB, EventOutcome.EXCEPTION, "code: words"),
        (
            GuestException("exception: InternalError: out of memory"),
            2 * MIB,
            EventOutcome.EXCEEDED_MEMORY,
            "limit is 100 MiB",
        ),
        (DeltaDoesNotFit("needs 200 MiB"), 2 * MIB, EventOutcome.EXCEEDED_MEMORY, "needs 200 MiB (100 MiB"),
        (PoolExhausted("maximum concurrent"), 100 * MIB, EventOutcome.LOAD_SHED, "sandbox"),
    ],
)
def test_failure_is_named(failure: Exception, memory: int, outcome: EventOutcome, words: str) -> None:
    ending = ending_of_failure(failure, memory, LIMITS)
    assert ending.outcome is outcome
    assert words in ending.message


def test_message_of_a_guest_is_bounded() -> None:
    assert len(ending_of_failure(AbiViolation("x" * 10_000), 0, LIMITS).message) <= 2_000
    assert len(ending_of_failure(GuestTrap("x" * 10_000, 9), 0, LIMITS).message) <= 500


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("TypeError: no", "exception: TypeError: no"),
        ("exception: TypeError: no", "exception: TypeError: no"),
        ("my_code: no", "exception: my_code: no"),
        ("exceptional: no", "exception: exceptional: no"),
    ],
)
def test_an_outcome_is_told_once(message: str, told: str) -> None:
    assert Ending(EventOutcome.EXCEPTION, message).told == told


@pytest.mark.parametrize(
    ("message", "line", "is_in"),
    [
        ("exception: TypeError: no", "Uncaught TypeError: no\n    at f (a.js:1:2)", True),
        ("exception: TypeError: no", "Uncaught TypeError: n", False),
        ("exception: TypeError: no", "Uncaught (in promise) TypeError: no", False),  # of something else
        ("the call stack is exhausted", "Uncaught Error: x", False),
    ],
)
def test_what_the_guest_said_of_its_exception_is_known(message: str, line: str, is_in: bool) -> None:
    assert Ending(EventOutcome.EXCEPTION, message).is_in(line) is is_in
    assert not Ending(EventOutcome.EXCEEDED_MEMORY, message).is_in(line)
