"""Lines are plain where nobody looks at them, and an end of reading is no error."""

from __future__ import annotations

import io

import pytest

from cli.dev.lines import Line
from cli.dev.screen import Screen


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Closed(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_pipe_gets_plain_lines() -> None:
    stream = io.StringIO()
    Screen(stream).show(Line("error: no", "bad"))
    assert stream.getvalue() == "error: no\n"


def test_a_terminal_gets_colours_unless_it_wants_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    screen = Screen(stream)
    screen.show(Line("error: no", "bad"))
    screen.show(Line("GET / 200"))
    assert stream.getvalue() == "\x1b[31merror: no\x1b[0m\nGET / 200\n"
    monkeypatch.setenv("NO_COLOR", "1")
    plain = Terminal()
    Screen(plain).show(Line("error: no", "bad"))
    assert plain.getvalue() == "error: no\n"


def test_who_reads_no_more_is_written_to_no_more() -> None:
    screen = Screen(Closed())
    screen.show(Line("a"))
    assert screen.broken
    screen.show(Line("b"))
