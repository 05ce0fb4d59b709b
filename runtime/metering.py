"""How an event ended, from what its sandbox met. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from model.limits import Limits
from model.outcome import EventOutcome
from runtime.abi.core_module.codec import GuestException
from runtime.capi.failures import GuestTrap, PoolExhausted, TrapCode
from runtime.capi.guest import DeltaDoesNotFit

#: The word of a tick that ended a guest at its CPU limit.
CPU: Final = "cpu"
#: Words that a sandbox can be doomed with, besides.
WALL: Final = "wall"
CANCELED: Final = "canceled"
SHUTDOWN: Final = "shutdown"
BACKGROUND: Final = "background"
ABANDONED: Final = "abandoned"
MEMORY: Final = "memory"

#: A trap with this part of the memory limit in use is taken for one that memory caused: a failed grow ends
#: in whatever trap the guest's allocator makes of it.
_MEMORY_SHARE: Final = 0.9
#: What a script throws when an allocation of any size fails: it may have used little until then.
_OUT_OF_MEMORY: Final = "InternalError: out of memory"


@dataclass(frozen=True, slots=True)
class Ending:
    """`message` is for the tenant: which limit, its value, what was used, how to raise it."""

    outcome: EventOutcome
    message: str = ""

    @property
    def told(self) -> str:
        """Outcome and message. The code that a guest gave its error is the outcome's already, mostly."""
        known = self.message.startswith(f"{self.outcome}: ")
        return self.message if known else f"{self.outcome}: {self.message}"

    def is_in(self, line: str) -> bool:
        """The guest said it itself, `Uncaught TypeError: no`, and where it was thrown, which nobody else knows."""
        error = self.message.removeprefix(f"{self.outcome}: ")
        return self.outcome is EventOutcome.EXCEPTION and line.startswith(f"Uncaught {error}")


def ending_of_stop(why: str, limits: Limits, cpu_ns: int) -> Ending:
    """The host ended the guest, for the reason `why`."""
    if why == CPU:
        return Ending(
            EventOutcome.EXCEEDED_CPU,
            f"used {cpu_ns / 1e6:.0f} ms of CPU time; the limit is {limits.cpu_ms} ms, "
            f"which the platform can raise (`limits.cpu_ms`)",
        )
    if why == WALL:
        return Ending(
            EventOutcome.EXCEEDED_WALL_TIME,
            f"ran longer than {limits.wall_ms / 1000:g} s, waiting included; the platform can raise `limits.wall_ms`",
        )
    if why == BACKGROUND:
        return Ending(
            EventOutcome.EXCEEDED_WALL_TIME,
            f"went on for more than {limits.background_ms / 1000:g} s after its response had ended",
        )
    if why == ABANDONED:
        return Ending(
            EventOutcome.EXCEEDED_WALL_TIME,
            f"went on for more than {limits.background_ms / 1000:g} s after its visitor had left",
        )
    if why == MEMORY:
        return Ending(
            EventOutcome.EXCEEDED_MEMORY,
            "the process had used up its share of the machine's memory, and this event held the most of it",
        )
    if why == SHUTDOWN:
        return Ending(EventOutcome.CANCELED, "the platform's process is being restarted")
    return Ending(EventOutcome.CANCELED, "the visitor left before the response had ended")


def ending_of_overdraft(limits: Limits, spent_ns: int) -> Ending:
    """It, and what called it or was called by it, have used up what the first of them had."""
    return Ending(
        EventOutcome.EXCEEDED_CPU,
        f"used {spent_ns / 1e6:.0f} ms of CPU time together with the workers that called each other by service "
        f"bindings; the limit is {limits.cpu_ms} ms, which the platform can raise for the first (`limits.cpu_ms`)",
    )


def ending_of_failure(failure: Exception, memory_bytes: int, limits: Limits) -> Ending:
    """The guest trapped or broke the ABI, with `memory_bytes` of linear memory at that time."""
    if isinstance(failure, PoolExhausted):
        return Ending(EventOutcome.LOAD_SHED, "no sandbox was free in this process")
    if isinstance(failure, DeltaDoesNotFit):
        return Ending(
            EventOutcome.EXCEEDED_MEMORY, f"{failure} ({limits.memory_bytes >> 20} MiB, `limits.memory_mb`)"
        )
    if isinstance(failure, GuestException) and str(failure).endswith(_OUT_OF_MEMORY):
        return Ending(
            EventOutcome.EXCEEDED_MEMORY,
            f"the script ran out of memory; the limit is {limits.memory_bytes >> 20} MiB, which the platform can raise "
            "(`limits.memory_mb`)",
        )
    if memory_bytes >= _MEMORY_SHARE * limits.memory_bytes and not isinstance(failure, GuestException):
        return Ending(
            EventOutcome.EXCEEDED_MEMORY,
            f"used {memory_bytes >> 20} MiB of memory; the limit is {limits.memory_bytes >> 20} MiB, "
            f"which the platform can raise (`limits.memory_mb`)",
        )
    if isinstance(failure, GuestTrap):
        if failure.code == TrapCode.STACK_OVERFLOW:
            return Ending(EventOutcome.EXCEPTION, "the call stack is exhausted: recursion too deep")
        # The library's text ends in the cause; what comes before is a backtrace of function numbers.
        cause = str(failure).rsplit("Caused by:", 1)[-1].strip().splitlines()
        return Ending(EventOutcome.EXCEPTION, (cause or ["trap"])[-1].strip()[:500])
    return Ending(EventOutcome.EXCEPTION, f"{failure}"[:2000])
