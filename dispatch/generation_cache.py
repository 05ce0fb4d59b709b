"""A bounded cache whose hit is one dictionary look-up.

Two generations instead of a linked list: what is used while a generation lasts is carried to the next,
the rest is dropped with its generation. A true LRU moves a link at every hit (measured: 0.15 µs, more
than the look-up itself).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class GenerationCache(Generic[K, V]):
    """Holds at most `max_entries`. Not for values that may be None: `get` answers None for absence."""

    __slots__ = ("_half", "_old", "_young")

    def __init__(self, max_entries: int) -> None:
        if max_entries < 2:
            raise ValueError(f"max_entries {max_entries}: 2 is the least")
        self._half = max_entries // 2
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, key: K) -> V | None:
        value = self._young.get(key)
        if value is None and self._old:
            value = self._old.pop(key, None)
            if value is not None:
                self.put(key, value)
        return value

    def put(self, key: K, value: V) -> None:
        if len(self._young) >= self._half and key not in self._young:
            self._old, self._young = self._young, {}
        self._old.pop(key, None)
        self._young[key] = value

    def discard(self, key: K) -> None:
        self._young.pop(key, None)
        self._old.pop(key, None)

    def discard_where(self, matches: Callable[[K], bool]) -> None:
        """Drop every key that `matches`; costs a look at each."""
        for generation in (self._young, self._old):
            for key in [key for key in generation if matches(key)]:
                del generation[key]

    def clear(self) -> None:
        self._young = {}
        self._old = {}
