"""The number of sandboxes and modules follows from how many memory maps a process may have."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.map_budget import (
    MAPS_A_MODULE,
    MAPS_A_SLOT,
    MAPS_OF_THE_PROCESS,
    MapPlan,
    TooFewMaps,
    max_map_count,
    plan,
)


def test_the_default_of_linux_gives_a_whole_host() -> None:
    assert plan(65_530) == MapPlan(slots=11_000, modules=3_908)


@pytest.mark.parametrize("maps", [4_100, 8_000, 30_000, 65_530, 262_144, 2**31 - 1])
def test_what_is_planned_fits(maps: int) -> None:
    planned = plan(maps)
    used = MAPS_OF_THE_PROCESS + planned.slots * MAPS_A_SLOT + planned.modules * MAPS_A_MODULE
    assert used <= maps
    assert planned.slots <= 11_000
    assert planned.modules <= 4_000


def test_too_few_is_refused_with_the_number_that_is_right() -> None:
    with pytest.raises(TooFewMaps, match=r"sysctl vm\.max_map_count=65530"):
        plan(4_000)


def test_the_kernels_number_is_read_and_the_default_is_taken_where_it_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "count").write_text("123456\n")
    assert max_map_count(tmp_path / "count") == 123_456
    assert max_map_count(tmp_path / "none") == 65_530
