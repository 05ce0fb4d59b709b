"""The bounds of one request that leaves: as documents state them, and as they hold. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

GIB: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """All are inclusive."""

    #: The longest silence of the upstream: until it has accepted, until its headers are whole, and
    #: between two pieces of its body.
    timeout_ms: int = 30_000
    max_response_bytes: int = GIB
    max_request_bytes: int = GIB
    #: Until a connection to one address stands, TLS and proxy included; never longer than `timeout_ms`.
    connect_ms: int = 10_000
    #: From the decision to the last byte of the response, retries and redirects included.
    total_ms: int = 900_000


#: What holds where nothing is stated.
NO_LIMITS: Final = FetchLimits()


@dataclass(frozen=True, slots=True)
class StatedLimits:
    """None: left out, so that another layer's may hold."""

    timeout_ms: int | None = None
    max_response_bytes: int | None = None
    max_request_bytes: int | None = None
    connect_ms: int | None = None
    total_ms: int | None = None

    def over(self, defaults: StatedLimits) -> StatedLimits:
        """These, and what they leave out from `defaults`."""
        if defaults is NOTHING_STATED:
            return self
        return StatedLimits(
            **{name: defaults.get(name) if self.get(name) is None else self.get(name) for name in LIMIT_NAMES}
        )

    def get(self, name: str) -> int | None:
        value: int | None = getattr(self, name)
        return value


NOTHING_STATED: Final = StatedLimits()
LIMIT_NAMES: Final = ("timeout_ms", "connect_ms", "total_ms", "max_response_bytes", "max_request_bytes")


def lowest(stated: Iterable[StatedLimits]) -> FetchLimits:
    """The lower of each limit that is stated, and the built-in one where none is."""
    found: dict[str, int] = {}
    for limits in stated:
        for name in LIMIT_NAMES:
            value = limits.get(name)
            if value is not None:
                found[name] = min(value, found.get(name, value))
    return FetchLimits(**found) if found else NO_LIMITS
