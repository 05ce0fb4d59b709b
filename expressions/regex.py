"""Regular expressions: RE2 alone, whose time is in proportion to the text, whatever the pattern.

Patterns and values are bytes, as in Cloudflare's engine: `.` is one byte, and `(?i)` knows ASCII letters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import re2

from expressions.strings import as_bytes

# Of one pattern, its automaton included. What is larger is refused; what grows larger while matching is run
# by RE2's slower, still linear, way.
MAX_PATTERN_MEMORY_BYTES: Final = 1 << 19


class PatternError(Exception):
    """Why RE2 can't take a pattern."""


def check_pattern(pattern: str) -> None:
    _compiled(pattern)


def searcher(pattern: str) -> Callable[[str], bool]:
    """Whether the pattern is found anywhere in a value."""
    search = _compiled(pattern).search
    return lambda value: search(as_bytes(value)) is not None


def _compiled(pattern: str) -> re2._Regexp[bytes]:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.max_mem = MAX_PATTERN_MEMORY_BYTES
    # It would go to stderr, where a tenant's text has no place.
    options.log_errors = False
    try:
        return re2.compile(as_bytes(pattern), options)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        words = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise PatternError(f"RE2 can't take this regular expression: {words}") from None
