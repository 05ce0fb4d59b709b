"""How often something may happen: a bounded table of the numbers of model.gcra."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Final, NamedTuple

from model.clock import monotonic_s
from model.gcra import TOLERANCE_S, gcra

#: How many of the least recently used keys are looked at for one to let go.
_LOOK_AT: Final = 32


class _Kept(NamedTuple):
    forgiven_at_s: float
    period_s: float
    #: Of the period, what one more use takes.
    share: float
    holder: Hashable


class RateTable:
    """Counts uses by key, in one process. Holds at most `capacity` keys, each for its `holder`.

    When it is full, a key that has rested goes first. Else whoever holds most gives way, so that nobody is locked
    out by the keys that somebody else invents: of that one's keys the one that has used least. Whoever holds most
    itself gets no other's place, and none of its own that has to wait, since it would get rid of its limits by
    using many keys: then the new key waits.
    """

    def __init__(self, capacity: int = 65_536, clock: Callable[[], float] = monotonic_s) -> None:
        self._capacity = capacity
        self._clock = clock
        #: Least recently used first.
        self._keys: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._held: dict[Hashable, int] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._keys)

    def take(self, key: Hashable, share: float, period_s: float, holder: Hashable = None) -> float:
        """Use `share` of what `key` may in a period, and return 0; or the seconds until it may, and use nothing."""
        now_s = self._clock()
        held = self._keys.get(key)
        if held is None and len(self._keys) >= self._capacity:
            wait_s = self._make_room(now_s, self._held.get(holder, 0))
            if wait_s > 0:
                return wait_s
        forgiven_at_s, wait_s = gcra(held.forgiven_at_s if held else 0.0, now_s, share * period_s, period_s)
        self._keep(key, _Kept(forgiven_at_s, period_s, share, held.holder if held else holder))
        return wait_s

    def charge(self, key: Hashable, share: float, period_s: float, holder: Hashable = None) -> None:
        """Count what has happened already, allowed or not; also where no key can be let go for it."""
        now_s = self._clock()
        held = self._keys.get(key)
        if held is None and len(self._keys) >= self._capacity:
            self._make_room(now_s, self._held.get(holder, 0))
        forgiven_at_s = max(held.forgiven_at_s if held else 0.0, now_s) + share * period_s
        self._keep(key, _Kept(forgiven_at_s, period_s, 0.0, held.holder if held else holder))

    def wait_s(self, key: Hashable) -> float:
        """How long until `key` may use anything at all; uses nothing."""
        held = self._keys.get(key)
        return max(0.0, held.forgiven_at_s - self._clock() - held.period_s) if held else 0.0

    def _keep(self, key: Hashable, kept: _Kept) -> None:
        if key not in self._keys:
            self._held[kept.holder] = self._held.get(kept.holder, 0) + 1
        self._keys[key] = kept
        self._keys.move_to_end(key)

    def _let_go(self, key: Hashable) -> None:
        holder = self._keys.pop(key).holder
        left = self._held[holder] - 1
        if left:
            self._held[holder] = left
        else:
            del self._held[holder]

    def _make_room(self, now_s: float, asker_holds: int) -> float:
        """Let one key go, and return 0; or how long the new one, of somebody who has so many, has to wait."""
        worst: Hashable = None
        worst_holds, worst_wait_s = 0, 0.0
        worst_left = first_wait_s = float("inf")
        passed: list[Hashable] = []
        for looked, (key, kept) in enumerate(self._keys.items()):
            left_s = kept.forgiven_at_s - now_s
            if left_s <= 0:
                self._let_go(key)
                return 0.0
            holds, left = self._held[kept.holder], left_s / kept.period_s
            wait_s = left_s + kept.share * kept.period_s - kept.period_s
            if (-holds, left) < (-worst_holds, worst_left):
                worst, worst_holds, worst_left, worst_wait_s = key, holds, left, wait_s
            if wait_s > 0:
                first_wait_s = min(first_wait_s, wait_s)
            passed.append(key)
            if looked + 1 >= _LOOK_AT:
                break
        if worst_holds > asker_holds or (worst_holds == asker_holds and worst_wait_s <= TOLERANCE_S):
            self._let_go(worst)
            return 0.0
        for key in passed:  # others are looked at next time
            self._keys.move_to_end(key)
        return max(first_wait_s, 1.0) if first_wait_s < float("inf") else 1.0
