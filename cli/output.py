"""How results reach a person or a script: tables, JSON, notes, progress.

Everything a tenant wrote (log lines, tags, names) may hold terminal escapes, so human output goes through
`printable`; JSON escapes by itself. Results go to stdout, everything else to stderr.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterable, Sequence

# C0 (without tab), DEL, C1, what else ends a line, and the bidirectional marks that make one read as another.
_UNSAFE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def printable(value: object) -> str:
    """`value` on one line, with control characters shown as \\x1b instead of obeyed."""
    text = value if isinstance(value, str) else "" if value is None else str(value)
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def indented(text: object) -> str:
    """What has several lines, as a stack trace has, goes on indented: none of them can pass for a line of its own."""
    return "\n    ".join(printable(part) for part in str(text).split("\n"))


def say(text: str) -> None:
    """One line of the result."""
    sys.stdout.write(f"{text}\n")


def note(text: str) -> None:
    """One line beside the result: what was made on the way, what to do next."""
    sys.stderr.write(f"{text}\n")


def print_json(value: object, *, lines: bool = False) -> None:
    """`value` for a script; with `lines`, on one line and flushed, for a stream of them."""
    sys.stdout.write(json.dumps(value, indent=None if lines else 2) + "\n")
    if lines:
        sys.stdout.flush()


def print_table(header: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Columns wide enough for what is in them; `empty` is said, on stderr, when there are no rows."""
    cells = [[printable(value) for value in row] for row in rows]
    if not cells:
        note(empty)
        return
    widths = [max(len(row[i]) for row in [list(header), *cells]) for i in range(len(header))]
    for row in [[name.upper() for name in header], *cells]:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def size(count: int) -> str:
    """Bytes as a person reads them: 812 B, 4.0 KiB, 1.2 MiB."""
    if count < 1024:
        return f"{count} B"
    return f"{count / 1024:.1f} KiB" if count < 1 << 20 else f"{count / (1 << 20):.1f} MiB"


class Progress:
    """Bytes sent so far, redrawn in place on stderr; silent when that is no terminal, it is soon over, or `quiet`."""

    def __init__(self, label: str, total: int, *, quiet: bool = False) -> None:
        self._label = label
        self._total = total
        self._sent = 0
        self._shown = False
        self._next_s = time.monotonic() + 0.3
        self._terminal = not quiet and sys.stderr.isatty()

    def advance(self, count: int) -> None:
        self._sent += count
        now = time.monotonic()
        whole = self._sent >= self._total
        if self._terminal and (whole or now >= self._next_s):
            self._next_s = now + 0.1
            self._shown = True
            share = f"{100 * self._sent // max(self._total, 1):3d} % of {size(self._total)}"
            sys.stderr.write(f"\r{self._label}: {'sent; the host compiles it' if whole else share}\x1b[K")
            sys.stderr.flush()

    def close(self) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
