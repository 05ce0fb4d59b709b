"""Which pages run, in which area, and why some fail: pages.toml, checked against the tests that there are."""

from __future__ import annotations

import fnmatch
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.javascript.wpt.pages import Page, Reader, pages_of

HERE: Final = Path(__file__).parent
OWN: Final = "behaviours"


@dataclass(frozen=True, slots=True)
class Reason:
    patterns: tuple[str, ...]
    why: str

    def covers(self, page: str) -> bool:
        return any(fnmatch.fnmatchcase(page, pattern) for pattern in self.patterns)


@dataclass(frozen=True, slots=True)
class Plan:
    areas: dict[str, tuple[str, ...]]
    fails: tuple[Reason, ...]
    left_out: tuple[Reason, ...]

    def reason_of(self, page: str) -> str | None:
        return next((reason.why for reason in self.fails if reason.covers(page)), None)


def load_plan(text: str) -> Plan:
    read = tomllib.loads(text)

    def reasons(name: str) -> tuple[Reason, ...]:
        return tuple(Reason(tuple(one["pages"]), one["why"]) for one in read.get(name, []))

    areas = {area: tuple(patterns) for area, patterns in read["areas"].items()}
    return Plan(areas, reasons("fails"), reasons("left_out"))


def the_plan() -> Plan:
    return load_plan((HERE / "pages.toml").read_text())


def reader(tests: Path) -> Reader:
    """Files of the archive, and ours below `behaviours/`."""

    def read(path: str) -> str | None:
        file = (HERE if path.startswith(f"{OWN}/") else tests) / path
        return file.read_text() if file.is_file() else None

    return read


def planned(plan: Plan, tests: Path) -> dict[str, list[Page]]:
    """The pages of each area, without what is left out."""
    read = reader(tests)
    found = {}
    for area, patterns in plan.areas.items():
        pages = [page for path in _matching(patterns, tests) for page in pages_of(path, read)]
        found[area] = [page for page in pages if not any(out.covers(str(page)) for out in plan.left_out)]
    return found


def _matching(patterns: Iterable[str], tests: Path) -> list[str]:
    paths = set()
    for pattern in patterns:
        root = HERE if pattern.startswith(f"{OWN}/") else tests
        paths |= {str(path.relative_to(root)) for path in root.glob(pattern)}
    return sorted(paths)
