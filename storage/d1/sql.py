"""Cut a script into statements, as SQLite's shell does. Pure, and linear in the text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final

#: What a cut may not fall into, then words, `;` and anything else. An unclosed quote or comment takes the rest.
_TOKEN: Final = re.compile(
    r"""(?P<skip>\s+|--[^\n]*|/\*(?:[^*]|\*(?!/))*(?:\*/|\Z))"""
    r"""|(?P<quoted>'[^']*(?:'|\Z)|"[^"]*(?:"|\Z)|`[^`]*(?:`|\Z)|\[[^\]]*(?:\]|\Z))"""
    r"""|(?P<word>[A-Za-z_0-9$\x80-\U0010ffff]+)|(?P<end>;)|(?P<other>.)""",
    re.DOTALL,
)


class _State(Enum):
    """Of sqlite3_complete(): a trigger ends with `; END;`, anything else with `;`."""

    START = auto()
    NORMAL = auto()
    EXPLAIN = auto()
    CREATE = auto()
    TRIGGER = auto()
    SEMICOLON = auto()
    END = auto()


@dataclass(frozen=True, slots=True)
class ScriptPart:
    """One statement with its `;`, and the line (from 1) on which it begins."""

    text: str
    line: int


def split_statements(script: str) -> Iterator[ScriptPart]:
    """Each statement of `script`, without the comments and `;` between them."""
    state = _State.START
    start = line = at_line = 1
    begun = False
    for match in _TOKEN.finditer(script):
        kind, text = match.lastgroup, match[0]
        if kind == "skip":
            at_line += text.count("\n")
            continue
        if not begun and kind != "end":
            begun, start, line = True, match.start(), at_line
        at_line += text.count("\n") if kind == "quoted" else 0
        state = _next(state, kind, text.upper() if kind == "word" else "")
        if kind == "end" and state is _State.START:
            if begun:
                yield ScriptPart(script[start : match.end()], line)
            begun = False
    if begun:
        yield ScriptPart(script[start:].rstrip(), line)


def split_exec(script: str) -> Iterator[ScriptPart]:
    """As D1's exec: where nothing ends with `;`, each line is a statement; where something does, lines are space."""
    if any(match.lastgroup == "end" for match in _TOKEN.finditer(script)):
        yield from split_statements(script)
        return
    start, line, at_line = 0, 1, 1
    for match in _TOKEN.finditer(script):
        at_line += match[0].count("\n")
        if match[0].isspace() and "\n" in match[0]:
            yield from _from_line(line, split_statements(script[start : match.start()]))
            start, line = match.end(), at_line
    yield from _from_line(line, split_statements(script[start:]))


def _from_line(line: int, parts: Iterator[ScriptPart]) -> Iterator[ScriptPart]:
    return (replace(part, line=part.line + line - 1) for part in parts)


def first_words(statement: str, count: int = 2) -> tuple[str, ...]:
    """The first words, in capitals."""
    words: list[str] = []
    for match in _TOKEN.finditer(statement):
        if match.lastgroup == "word":
            words.append(match[0].upper())
            if len(words) == count:
                break
        elif match.lastgroup != "skip":
            break
    return tuple(words)


def is_blank(text: str) -> bool:
    """Nothing but space, comments and `;`."""
    return all(match.lastgroup in ("skip", "end") for match in _TOKEN.finditer(text))


def _next(state: _State, kind: str | None, word: str) -> _State:
    ends = kind == "end"
    match state:
        case _State.START:
            if ends:
                return _State.START
            return {"CREATE": _State.CREATE, "EXPLAIN": _State.EXPLAIN}.get(word, _State.NORMAL)
        case _State.NORMAL:
            return _State.START if ends else _State.NORMAL
        case _State.EXPLAIN:
            if ends:
                return _State.START
            if word == "CREATE":
                return _State.CREATE
            # Of anything but these words SQLite expects that a statement may still follow.
            other = word not in ("EXPLAIN", "TEMP", "TEMPORARY", "TRIGGER", "END")
            return _State.EXPLAIN if other else _State.NORMAL
        case _State.CREATE:
            if ends:
                return _State.START
            if word in ("TEMP", "TEMPORARY"):
                return _State.CREATE
            return _State.TRIGGER if word == "TRIGGER" else _State.NORMAL
        case _State.TRIGGER:
            return _State.SEMICOLON if ends else _State.TRIGGER
        case _State.SEMICOLON:
            if ends:
                return _State.SEMICOLON
            return _State.END if word == "END" else _State.TRIGGER
        case _State.END:
            return _State.START if ends else _State.TRIGGER
