"""A path pattern of a rule: '*' stands for any characters, '/' too. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Glob:
    """Matching takes linear steps, never backtracks."""

    first: str
    middle: tuple[str, ...]
    #: None when there is no '*': then the path is `first` exactly.
    last: str | None

    @staticmethod
    def compile(pattern: str) -> Glob:
        first, *rest = pattern.split("*")
        return Glob(first, tuple(part for part in rest[:-1] if part), rest[-1] if rest else None)

    @property
    def is_prefix(self) -> bool:
        """Whatever begins with `first` matches."""
        return not self.middle and self.last == ""

    def matches(self, path: str) -> bool:
        if self.last is None:
            return path == self.first
        if not path.startswith(self.first) or not path.endswith(self.last):
            return False
        at, end = len(self.first), len(path) - len(self.last)
        for part in self.middle:
            found = path.find(part, at, end)
            if found < 0:
                return False
            at = found + len(part)
        return at <= end

    def covers(self, other: Glob) -> bool:
        """Every path that `other` matches, this matches. May say no where a closer look would say yes."""
        if other.last is None:
            return self.matches(other.first)
        return self == other or (self.is_prefix and other.first.startswith(self.first))
