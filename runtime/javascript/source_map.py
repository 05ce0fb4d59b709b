"""Source maps: from a place in what was uploaded to the place in what its author wrote. Pure.

Source: ECMA-426 (revision 3 of the format), with its index maps (`sections`). A map is the tenant's: everything in it
is hostile, so what is decoded is bounded in bytes, lines, segments, names and depth, and nothing that it names is read.
What does not keep to the format is no map at all, and then a trace stays as it was.
"""

from __future__ import annotations

import posixpath
import re
from array import array
from bisect import bisect_right
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec

MOST_LINES: Final = 500_000
MOST_SEGMENTS: Final = 1_000_000
MOST_SOURCES: Final = 20_000
MOST_SECTIONS: Final = 1_000
#: An index map's parts may be index maps; more deep than this nobody makes them.
MOST_DEPTH: Final = 3
_NAME: Final = 512
#: Of a source's path as it is written, and of what stands before all of them: each is put together for each source.
_PATH: Final = 2_048
#: A number of a segment, and what numbers may sum up to.
_MOST: Final = 1 << 31

_DIGITS: Final = {
    letter: value
    for value, letter in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
}
#: Most segments are one of few: decoded once.
_REMEMBERED: Final = 20_000
_NO_SOURCE: Final = 0xFFFF_FFFF


class MalformedMap(ValueError):
    """This is no source map, or a larger one than is read."""


class Place(NamedTuple):
    """Line and column count from 0."""

    source: str
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class SourceMap:
    """Segments in the order of the generated file; `starts` has the number of each line's first one, and their count
    at the end.
    """

    sources: tuple[str, ...]
    starts: array[int]
    columns: array[int]
    #: Of each segment: the number of its source (or _NO_SOURCE), and the place in it.
    origins: array[int]
    lines: array[int]
    origin_columns: array[int]

    @property
    def size(self) -> int:
        """In memory, roughly."""
        return 4 * (len(self.starts) + 4 * len(self.columns)) + sum(100 + len(name) for name in self.sources)

    @property
    def entries(self) -> int:
        """What it took to make it: lines, segments, and sources, which take as long as a few of those."""
        return len(self.starts) + len(self.columns) + 20 * len(self.sources)

    def find(self, line: int, column: int) -> Place | None:
        """What stands at this place of the generated file; None where the map says nothing of it."""
        if not 0 <= line < len(self.starts) - 1 or column < 0:
            return None
        first, end = self.starts[line], self.starts[line + 1]
        at = bisect_right(self.columns, column, first, end) - 1
        if at < first or self.origins[at] == _NO_SOURCE:
            return None
        return Place(self.sources[self.origins[at]], self.lines[at], self.origin_columns[at])


class _Offset(msgspec.Struct):
    line: int
    column: int


class _Section(msgspec.Struct):
    offset: _Offset
    map: msgspec.Raw


class _File(msgspec.Struct):
    """The texts of its sources, and whatever else there is, are skipped without being made."""

    version: int
    sources: list[str | None] = []
    source_root: str | None = msgspec.field(default=None, name="sourceRoot")
    mappings: str = ""
    sections: list[_Section] | None = None


_UPWARDS: Final = re.compile(r"(?:\.\./)+")

_decode: Final = msgspec.json.Decoder(_File).decode


def parse(data: bytes) -> SourceMap:
    """Raises MalformedMap."""
    made = _Made()
    _read(data, made, _Offset(0, 0), MOST_DEPTH)
    made.starts.append(len(made.columns))
    return SourceMap(
        tuple(made.sources), made.starts, made.columns, made.origins, made.lines, made.origin_columns
    )


class _Made:
    """What was read so far. Lines are opened by their first segments."""

    def __init__(self) -> None:
        self.sources: list[str] = []
        self.starts = array("I", (0,))
        self.columns = array("I")
        self.origins = array("I")
        self.lines = array("I")
        self.origin_columns = array("I")
        self.sections = 0

    def go_to(self, line: int) -> None:
        """The next segments are of this line."""
        at = len(self.starts) - 1
        if line < at:
            raise MalformedMap("sections that overlap, or are not in order")
        if line >= MOST_LINES:
            raise MalformedMap(f"more than {MOST_LINES} lines")
        self.starts.extend([len(self.columns)] * (line - at))


def _read(data: bytes | msgspec.Raw, made: _Made, offset: _Offset, depth: int) -> None:
    try:
        file = _decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise MalformedMap(str(error)[:200]) from None
    if file.version != 3:
        raise MalformedMap(f"version {file.version}")
    if file.sections is None:
        _add(file, made, offset)
        return
    made.sections += len(file.sections)
    if made.sections > MOST_SECTIONS or depth == 0:
        raise MalformedMap("too many sections, or sections in sections")
    for section in file.sections:
        inner = section.offset
        if not 0 <= inner.line < MOST_LINES or not 0 <= inner.column < _MOST:
            raise MalformedMap("an offset out of range")
        # On its first line alone what is offset begins behind that of what is around it.
        column = inner.column + (offset.column if inner.line == 0 else 0)
        _read(section.map, made, _Offset(offset.line + inner.line, column), depth - 1)


def _add(file: _File, made: _Made, offset: _Offset) -> None:
    base = len(made.sources)
    if base + len(file.sources) > MOST_SOURCES:
        raise MalformedMap(f"more than {MOST_SOURCES} sources")
    root = (file.source_root or "")[:_PATH]
    made.sources += [_shown(root, source) for source in file.sources]
    if file.mappings.count(";") >= MOST_LINES:
        raise MalformedMap(f"more than {MOST_LINES} lines")
    if len(made.columns) + file.mappings.count(",") + file.mappings.count(";") > MOST_SEGMENTS + MOST_LINES:
        raise MalformedMap(f"more than {MOST_SEGMENTS} segments")
    known: dict[str, tuple[int, ...]] = {}
    source = line = column = 0
    count = len(file.sources)
    for number, text in enumerate(file.mappings.split(";"), offset.line):
        made.go_to(number)
        if not text:
            continue
        generated = offset.column if number == offset.line else 0
        for segment in text.split(","):
            fields = known.get(segment)
            if fields is None:
                fields = _numbers(segment)
                if len(known) < _REMEMBERED:
                    known[segment] = fields
            generated += fields[0]
            if len(fields) > 1:
                source += fields[1]
                line += fields[2]
                column += fields[3]
            if not (0 <= generated < _MOST and 0 <= line < _MOST and 0 <= column < _MOST):
                raise MalformedMap("a place out of range")
            if len(fields) > 1 and not 0 <= source < count:
                raise MalformedMap("a source that is not there")
            made.columns.append(generated)
            made.origins.append(base + source if len(fields) > 1 else _NO_SOURCE)
            made.lines.append(line)
            made.origin_columns.append(column)
        if len(made.columns) > MOST_SEGMENTS:
            raise MalformedMap(f"more than {MOST_SEGMENTS} segments")


def _numbers(segment: str) -> tuple[int, ...]:
    """Of one segment: base64 VLQ, of which the lowest bit is the sign."""
    numbers = []
    value = shift = 0
    for letter in segment:
        digit = _DIGITS.get(letter)
        if digit is None or shift > 30:
            raise MalformedMap("a segment that is no number")
        value |= (digit & 31) << shift
        shift += 5
        if not digit & 32:
            numbers.append(-(value >> 1) if value & 1 else value >> 1)
            value = shift = 0
    if shift or len(numbers) not in (1, 4, 5):
        raise MalformedMap("a segment of another shape")
    return tuple(numbers)


def _shown(root: str, source: str | None) -> str:
    """As a reader knows it: from the project's folder on, wherever the bundler's output lay."""
    if source is None:
        return "(unknown)"
    source = source[:_PATH]
    name = source if not root else f"{root.rstrip('/')}/{source}"
    if "://" not in name:
        name = posixpath.normpath(name)
        upwards = _UPWARDS.match(name)
        if upwards is not None:
            name = name[upwards.end() :]
    name = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name[:_NAME])
    return name or "(unknown)"
