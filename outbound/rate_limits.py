"""How often something may happen: a rate as one number a key (GCRA), and a bounded table of such numbers.

`gcra` is pure. Source: ITU-T I.371, the generic cell rate algorithm as virtual scheduling: what a key has
used is kept as the time at which all of it will be forgiven.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final

from model.clock import monotonic_s

#: How many of the least recently used keys are looked at for one to let go.
_LOOK_AT: Final = 32
# Sums of many small costs are off by less.
_TOLERANCE_S: Final = 1e-6


def gcra(forgiven_at_s: float, now_s: float, cost_s: float, period_s: float) -> tuple[float, float]:
    """(the key's new number, seconds to wait: 0 when it may happen now).

    A key that has rested may use a whole period's worth at once; then it comes back evenly. `cost_s` is the
    share of the period that this use takes: `period_s / requests` for one of them.
    """
    after_s = max(forgiven_at_s, now_s) + cost_s
    wait_s = after_s - now_s - period_s
    return (forgiven_at_s, wait_s) if wait_s > _TOLERANCE_S else (after_s, 0.0)


class RateTable:
    """Counts uses by key, in one process. Holds at most `capacity` keys.

    When it is full, a key that has rested goes first, then one that may still go on. A key that has to wait
    is never let go, so nobody gets rid of a limit by using many keys: if all of those looked at wait, the new
    key waits as long as the first of them.
    """

    def __init__(self, capacity: int = 65_536, clock: Callable[[], float] = monotonic_s) -> None:
        self._capacity = capacity
        self._clock = clock
        #: Key → (forgiven at, period), least recently used first.
        self._keys: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._keys)

    def take(self, key: Hashable, share: float, period_s: float) -> float:
        """Use `share` of what `key` may in a period, and return 0; or the seconds until it may, and use nothing."""
        now_s = self._clock()
        held = self._keys.get(key)
        if held is None and len(self._keys) >= self._capacity and (wait_s := self._make_room(now_s)) > 0:
            return wait_s
        forgiven_at_s, wait_s = gcra(held[0] if held else 0.0, now_s, share * period_s, period_s)
        self._keys[key] = (forgiven_at_s, period_s)
        self._keys.move_to_end(key)
        return wait_s

    def charge(self, key: Hashable, share: float, period_s: float) -> None:
        """Count what has happened already, allowed or not; also where no key can be let go for it."""
        now_s = self._clock()
        held = self._keys.get(key)
        if held is None and len(self._keys) >= self._capacity:
            self._make_room(now_s)
        self._keys[key] = (max(held[0] if held else 0.0, now_s) + share * period_s, period_s)
        self._keys.move_to_end(key)

    def wait_s(self, key: Hashable) -> float:
        """How long until `key` may use anything at all; uses nothing."""
        held = self._keys.get(key)
        return max(0.0, held[0] - self._clock() - held[1]) if held else 0.0

    def _make_room(self, now_s: float) -> float:
        """Let one key go, and return 0; or how long the new one has to wait."""
        least: Hashable = None
        least_left = 1.0
        first_wait_s = float("inf")
        waiting: list[Hashable] = []
        for looked, (key, (forgiven_at_s, period_s)) in enumerate(self._keys.items()):
            left = (forgiven_at_s - now_s) / period_s
            if left <= 0:
                del self._keys[key]
                return 0.0
            if left < least_left:
                least, least_left = key, left
            elif left >= 1.0:
                waiting.append(key)
                first_wait_s = min(first_wait_s, forgiven_at_s - now_s - period_s)
            if looked + 1 >= _LOOK_AT:
                break
        if least is not None:
            del self._keys[least]
            return 0.0
        for key in waiting:  # others are looked at next time
            self._keys.move_to_end(key)
        return max(first_wait_s, 1.0)
