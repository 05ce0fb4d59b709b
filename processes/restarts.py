"""When a process that died is started again. Pure: times come in as numbers (monotonic seconds)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """The first death after a good life is answered at once, the next after `first_s`, then twice as long
    each time: 0, 0.1, 0.2, 0.4, 0.8… 10 s.
    """

    first_s: float = 0.1
    max_s: float = 10.0
    #: A life this long is a good one.
    reset_after_s: float = 30.0
    #: This many deaths within the window are a crash loop: tried again each `max_s` only.
    crash_loop_deaths: int = 5
    crash_loop_window_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Restart:
    delay_s: float
    crash_loop: bool


@dataclass(slots=True)
class RestartHistory:
    """The deaths of one process that may still matter."""

    policy: RestartPolicy
    _failures: int = 0
    _deaths: deque[float] = field(default_factory=deque)

    def died(self, now: float, lived_s: float) -> Restart:
        policy = self.policy
        if lived_s >= policy.reset_after_s:
            self._failures = 0
            self._deaths.clear()
        self._failures += 1
        self._deaths.append(now)
        while now - self._deaths[0] > policy.crash_loop_window_s:
            self._deaths.popleft()
        if len(self._deaths) >= policy.crash_loop_deaths:
            return Restart(policy.max_s, True)
        if self._failures == 1:
            return Restart(0.0, False)
        # The exponent is bounded, since a float is.
        return Restart(min(policy.max_s, policy.first_s * 2.0 ** min(self._failures - 2, 60)), False)
