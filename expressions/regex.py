"""Regular expressions: RE2 alone, whose time is in proportion to the text, whatever the pattern.

Patterns and values are bytes, as in Cloudflare's engine: `.` is one byte. What both engines take and read differently
is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import re2

from expressions.strings import as_bytes

# Of one pattern, its automaton included. Should that grow larger while matching, RE2 goes on without one: each byte
# then costs up to as many steps, of some 4 ns, as the pattern's program has (a{1000} has a thousand). `checks` bounds
# these.
MAX_PATTERN_MEMORY_BYTES: Final = 1 << 19


class PatternError(Exception):
    """Why RE2 can't take a pattern."""


# Escapes, classes with what is in them, repetitions. `]` right after the opening is a character to both engines.
_PARTS: Final = re.compile(
    r"\\(?P<escape>[xb]\{|.)"
    r"|\[\^?\]?(?P<members>(?:\\.|\[:\^?[a-z]+:\]|[^\]\\])*+)\]"
    r"|\{[0-9]+(?:,[0-9]*)?\}"
    r"|(?P<brace>\{)"
    r"|\(\?(?P<flags>[A-Za-z]*)",
    re.DOTALL,
)
_MEMBERS_ALIKE: Final = re.compile(r"\\[^pPx]|\\x[^{]|\[:\^?[a-z]+:\]", re.DOTALL)
_OF_CHARACTERS: Final = "values are bytes, of which \\p says nothing: list the characters, as in (é|è)"
_ESCAPES: Final = {
    "p": _OF_CHARACTERS,
    "P": _OF_CHARACTERS,
    "<": "\\< has two readings: write < for the character, \\b for the edge of a word",
    ">": "\\> has two readings: write > for the character, \\b for the edge of a word",
    "b{": "\\b{ has two readings: write \\b alone, or \\b\\{",
    "x{": "\\x{ has two readings: write a byte as \\xHH",
}


def check_pattern(pattern: str) -> int:
    """Steps that matching takes a byte, at the worst. Raises PatternError."""
    for part in _PARTS.finditer(pattern):
        if part["escape"] in _ESCAPES:
            raise PatternError(_ESCAPES[part["escape"]])
        if part["brace"]:
            raise PatternError("{ has two readings where no repetition follows, as in {2,5}: write \\{")
        if "i" in (part["flags"] or "") and not pattern.isascii():
            raise PatternError("(?i) knows ASCII letters alone: write both cases, as in (é|É)")
        _check_members(_MEMBERS_ALIKE.sub("", part["members"] or ""))
    return int(_compiled(pattern).programsize)


def _check_members(members: str) -> None:
    """Of a class, without what both engines read alike."""
    for sign in ("&&", "--", "~~", "["):
        if sign in members:
            raise PatternError(
                f"{sign} within [ ] has two readings: write \\ before it to mean the characters"
            )
    if "\\" in members or not members.isascii():
        raise PatternError("a class is one of bytes: list other characters as in (é|è)")


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
