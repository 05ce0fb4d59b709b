"""Where time comes from. Everything that decides takes time as a number instead."""

from __future__ import annotations

import time


def monotonic_s() -> float:
    """Seconds from an arbitrary start, never going back: for durations and deadlines."""
    return time.monotonic()


def unix_s() -> float:
    """Seconds since 1970: for what is stored or shown."""
    return time.time()


def unix_ms() -> int:
    return time.time_ns() // 1_000_000
