"""Rule: the first death is answered at once, a series of them ever later up to the maximum, and a crash
loop has a name; a good life forgets all.
"""

from __future__ import annotations

import pytest

from processes.restarts import Restart, RestartHistory, RestartPolicy

POLICY = RestartPolicy()


def test_delays_double_until_it_is_a_crash_loop() -> None:
    history = RestartHistory(POLICY)
    restarts = [history.died(now, 0.1) for now in (0.0, 0.2, 0.5, 1.0, 2.0, 12.0)]
    assert restarts == [
        Restart(0.0, False),
        Restart(0.1, False),
        Restart(0.2, False),
        Restart(0.4, False),
        Restart(10.0, True),
        Restart(10.0, True),
    ]


def test_without_a_crash_loop_the_delay_has_a_maximum_for_ever() -> None:
    history = RestartHistory(POLICY)
    delays = [history.died(20.0 * n, 19.9).delay_s for n in range(1200)]
    assert delays[7:] == [6.4] + [10.0] * 1192
    assert not history.died(20.0 * 1200, 19.9).crash_loop


@pytest.mark.parametrize(
    ("lived_s", "delay_s"),
    [
        (29.9, 0.2),  # not yet a good life
        (30.0, 0.0),
    ],
)
def test_a_good_life_forgets_the_deaths_before(lived_s: float, delay_s: float) -> None:
    history = RestartHistory(POLICY)
    history.died(0.0, 0.1)
    history.died(0.1, 0.1)
    assert history.died(40.0, lived_s) == Restart(delay_s, False)


@pytest.mark.parametrize(
    ("gap_s", "crash_loop"),
    [
        (15.0, True),  # the fifth death is 60 s after the first
        (15.1, False),
    ],
)
def test_five_deaths_within_a_minute_are_a_crash_loop(gap_s: float, crash_loop: bool) -> None:
    history = RestartHistory(POLICY)
    assert [history.died(gap_s * n, gap_s) for n in range(5)][-1].crash_loop is crash_loop
