"""How `tenantry dev` tells what happens: a line a request, traces below, nothing that a terminal would obey."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cli.dev.lines import Line, changed_text, egress_hint, error_lines, event_line, log_line
from cli.errors import ApiError, CliError, Problem

ACCESS: dict[str, Any] = {
    "trigger": "fetch",
    "namespace": "dev",
    "script": "shop",
    "outcome": "ok",
    "status": 200,
    "wall_us": 12_400,
    "method": "GET",
    "path": "/a",
}
EGRESS: dict[str, Any] = {"event": "egress", "host": "127.0.0.1", "reason": "address.loopback"}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, Line("GET /a 200 (12 ms)")),
        ({"status": 404}, Line("GET /a 404 (12 ms)", "warning")),
        ({"status": 500, "outcome": "exception"}, Line("GET /a 500 exception (12 ms)", "bad")),
        ({"status": 0, "outcome": "canceled"}, Line("GET /a canceled (12 ms)")),
        ({"trigger": "queue", "status": 0, "method": "", "path": ""}, Line("queue ok (12 ms)")),
        (
            {"trigger": "scheduled", "status": 0, "outcome": "exception"},
            Line("scheduled exception (12 ms)", "bad"),
        ),
        ({"script": "prices"}, Line("[prices] GET /a 200 (12 ms)")),  # by a service binding
        ({"script": "", "status": 404}, Line("[no worker] GET /a 404 (12 ms)", "warning")),
        ({"path": "/\x1b[2J"}, Line("GET /\\x1b[2J 200 (12 ms)")),
    ],
)
def test_each_event_is_a_line(changes: dict[str, Any], line: Line) -> None:
    assert event_line(ACCESS | changes, "shop") == line


def test_lines_of_another_kind_are_no_events() -> None:
    assert event_line(EGRESS, "shop") is None
    assert event_line({"message": "draining"}, "shop") is None


def test_what_was_logged_is_indented_with_its_trace_below() -> None:
    trace = "Uncaught Error: \x1b[2J\n    at price (src/price.ts:4:11)"
    assert log_line({"level": 4, "text": trace}) == Line(
        "  error  Uncaught Error: \\x1b[2J\n          at price (src/price.ts:4:11)", "bad"
    )
    assert log_line({"level": 1, "text": "hello"}) == Line("  info   hello")
    assert log_line({"level": 3, "text": "old"}) == Line("  warn   old", "warning")


@pytest.mark.parametrize(
    ("record", "allow_loopback", "hint"),
    [
        (EGRESS, False, "--allow-loopback"),
        (EGRESS, True, ""),
        (EGRESS | {"reason": "address.private"}, False, ""),
        (EGRESS | {"event": "state"}, False, ""),
        ({"event": "egress", "host": "localhost", "reason": "resolve.not_found"}, True, "write 127.0.0.1"),
        ({"event": "egress", "host": "a.localhost", "reason": "resolve.not_found"}, False, "write 127.0.0.1"),
        ({"event": "egress", "host": "example.com", "reason": "resolve.not_found"}, True, ""),
    ],
)
def test_a_request_that_did_not_get_out_says_what_helps(
    record: dict[str, Any], allow_loopback: bool, hint: str
) -> None:
    told = egress_hint(record, allow_loopback=allow_loopback)
    assert bool(told) == bool(hint)
    assert hint in told


def test_a_refusal_is_told_without_what_programs_need() -> None:
    error = ApiError(400, [Problem(10021, "main_module: Uncaught Error: no at src/index.ts:5:42")])
    assert list(error_lines(error)) == [Line("error: Uncaught Error: no at src/index.ts:5:42", "bad")]


def test_an_error_of_several_lines_is_one_with_its_hint_after_it() -> None:
    error = CliError("esbuild says:\n  src/index.ts:5:42\x1b[2J\n", hint="mend it")
    assert list(error_lines(error)) == [
        Line("error: esbuild says:\n      src/index.ts:5:42\\x1b[2J", "bad"),
        Line("hint: mend it", "warning"),
    ]


@pytest.mark.parametrize(
    ("paths", "text"),
    [
        (["/p/src/b.ts"], "src/b.ts"),
        (["/p/src/b.ts", "/p/a.ts"], "a.ts, src/b.ts"),
        (["/p/5", "/p/4", "/p/3", "/p/2", "/p/1"], "1, 2, 3 and 2 more"),
        (["/q/shared.ts"], "/q/shared.ts"),
    ],
)
def test_changed_files_are_called_as_their_author_does(paths: list[str], text: str) -> None:
    assert changed_text([Path(path) for path in paths], Path("/p")) == text
