"""One row of the table, and the arithmetic from slices to it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles


@dataclass(frozen=True, slots=True)
class Figure:
    """`ratio` against `goal`; `at_least` says which way. `spread` is the quartiles of the single ratios.
    `note` says what was measured beside, for the reader of the table.
    """

    work: str
    against: str
    ratio: float
    spread: tuple[float, float]
    goal: float
    at_least: bool
    note: str = ""

    @property
    def holds(self) -> bool:
        return self.ratio >= self.goal if self.at_least else self.ratio <= self.goal

    def record(self) -> dict[str, object]:
        """As build/bench.json has it."""
        return {
            "work": self.work,
            "against": self.against,
            "ratio": round(self.ratio, 4),
            "spread": [round(value, 4) for value in self.spread],
            "goal": self.goal,
            "holds": self.holds,
        }

    def line(self) -> str:
        sign = "≥" if self.at_least else "≤"
        verdict = "holds" if self.holds else "MISSED"
        low, high = self.spread
        shown = f"{self.ratio:6.3f}  [{low:.3f} … {high:.3f}]  {sign} {self.goal:<5g} {verdict:<7}"
        note = f"\n      {self.note}" if self.note else ""
        return f"{shown} {self.work}  |  {self.against}{note}"


def from_ratios(
    work: str, against: str, ratios: Sequence[float], goal: float, *, at_least: bool, note: str = ""
) -> Figure:
    """The median and quartiles of at least two ratios."""
    low, _, high = quantiles(ratios, n=4, method="inclusive")
    return Figure(work, against, median(ratios), (low, high), goal, at_least, note)


def percentile(values: Sequence[int], share: float) -> int:
    """The smallest of `values` that at least `share` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
