"""How often something may happen: a rate as one number a key (GCRA). Pure.

Source: ITU-T I.371, the generic cell rate algorithm as virtual scheduling: what a key has used is kept as the time at
which all of it will be forgiven.
"""

from __future__ import annotations

from typing import Final

# Sums of many small costs are off by less.
TOLERANCE_S: Final = 1e-6


def gcra(forgiven_at_s: float, now_s: float, cost_s: float, period_s: float) -> tuple[float, float]:
    """(the key's new number, seconds to wait: 0 when it may happen now).

    A key that has rested may use a whole period's worth at once; then it comes back evenly. `cost_s` is the
    share of the period that this use takes: `period_s / requests` for one of them.
    """
    after_s = max(forgiven_at_s, now_s) + cost_s
    wait_s = after_s - now_s - period_s
    return (forgiven_at_s, wait_s) if wait_s > TOLERANCE_S else (after_s, 0.0)
