"""How many tests of each page pass, as recorded in counts.json: what a run is held to, up and down. Values only."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from tests.javascript.wpt.running import Run

#: A page with more failures than this is held by its counts alone.
_NAMED: Final = 24


@dataclass(frozen=True, slots=True)
class Count:
    passed: int
    total: int
    #: Those that fail, sorted; empty where they are too many to name.
    failing: tuple[str, ...] = ()

    @property
    def failed(self) -> int:
        return self.total - self.passed


def count(run: Run) -> Count:
    failing = sorted(result.name for result in run.results if result.status != "PASS")
    return Count(run.passed, len(run.results), tuple(failing) if len(failing) <= _NAMED else ())


def difference(expected: Count, run: Run) -> str | None:
    """Why a run is not as recorded, in words; None if it is."""
    got = count(run)
    if got == expected:
        return None
    new = set(got.failing) - set(expected.failing) if expected.failed <= _NAMED else set()
    words = {result.name: f"{result.status} {result.message}" for result in run.results}
    told = "".join(f"\n  {name}: {words[name][:300]}" for name in sorted(new)[:12])
    head = f"{got.passed} of {got.total} pass, {expected.passed} of {expected.total} are recorded"
    if got.total == expected.total and got.passed > expected.passed and not new:
        return f"{head}: better; record it with `python -m tests.javascript.wpt --record`"
    return f"{head}{told}{f' ({run.error})' if run.error else ''}"


Recorded = Mapping[str, Mapping[str, Count]]


def dump(areas: Recorded) -> str:
    """One line a page, so that a change of one is a change of one line."""
    parts = []
    for area, counts in areas.items():
        lines = [f"  {json.dumps(page)}: {json.dumps(_written(one))}" for page, one in sorted(counts.items())]
        parts.append(f"{json.dumps(area)}: {{\n" + ",\n".join(lines) + "\n}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _written(count: Count) -> list[object]:
    return [count.passed, count.total, *([list(count.failing)] if count.failing else [])]


def parse(text: str) -> dict[str, dict[str, Count]]:
    return {
        area: {page: _read(*one) for page, one in pages.items()} for area, pages in json.loads(text).items()
    }


def _read(passed: int, total: int, failing: Iterable[str] = ()) -> Count:
    return Count(passed, total, tuple(failing))


def table(areas: Recorded) -> str:
    """For docs/javascript.md: what passes in each area."""
    rows = [_row(area, counts.values()) for area, counts in areas.items()]
    rows.append(_row("all", [one for counts in areas.values() for one in counts.values()]))
    return "\n".join(["| area | pages | tests | pass | |", "|---|---|---|---|---|", *rows]) + "\n"


def _row(area: str, counts: Collection[Count]) -> str:
    passed, total = sum(one.passed for one in counts), sum(one.total for one in counts)
    return f"| {area} | {len(counts)} | {total:,} | {passed:,} | {100 * passed / total:.1f} % |"
