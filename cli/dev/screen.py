"""Where lines go: stdout, whole, from several threads; with colours where somebody looks at it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping
from typing import Final, TextIO

from cli.dev.lines import Line, Tone

_CODES: Final[Mapping[Tone, str]] = {"good": "32", "warning": "33", "bad": "31", "faint": "2"}


class Screen:
    """`broken` is true once nobody reads any more (`| head`)."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._lock = threading.Lock()
        self._colours = self._stream.isatty() and not os.environ.get("NO_COLOR")
        self.broken = False

    def show(self, line: Line) -> None:
        """At once: who pipes it away waits for lines, too."""
        code = _CODES.get(line.tone) if self._colours else None
        text = f"\x1b[{code}m{line.text}\x1b[0m\n" if code else f"{line.text}\n"
        with self._lock:
            if self.broken:
                return
            try:
                self._stream.write(text)
                self._stream.flush()
            except BrokenPipeError:
                self.broken = True
