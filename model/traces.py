"""What became of one event, for the workers that its script names as tail consumers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from model.capabilities import EventContext
from model.outcome import EventOutcome


class TracedLine(NamedTuple):
    """As LogLine; level 5 is an exception that nobody caught."""

    at_ms: int
    level: int
    text: str


@dataclass(frozen=True, slots=True)
class EventTrace:
    """`event` says what it was asked, by the names that consumers know it by; None: nothing is told of it."""

    context: EventContext
    #: As the script names them.
    consumers: tuple[str, ...]
    event: Mapping[str, object] | None
    outcome: EventOutcome
    #: Why it did not end well.
    error: str
    started_ms: int
    cpu_us: int
    wall_us: int
    lines: tuple[TracedLine, ...] = ()
    #: Lines were over its limits, and are not among them.
    is_cut: bool = False


#: Takes one at an event's end: never waits, never raises.
Traced = Callable[[EventTrace], None]


def untold(trace: EventTrace) -> None:
    """Nobody's."""
