"""What happens in the dev host → lines to read: pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from cli.commands.logs import level_name
from cli.dev.plan import NAMESPACE
from cli.errors import ApiError, CliError
from cli.output import indented, printable

Tone = Literal["plain", "good", "warning", "bad", "faint"]

_WARNING: Final = 3
_ERROR: Final = 4
_MOST_NAMES: Final = 3


@dataclass(frozen=True, slots=True)
class Line:
    """`text` may have several lines, those after the first indented; it is safe to print."""

    text: str
    tone: Tone = "plain"


def event_line(record: Mapping[str, Any], script: str) -> Line | None:
    """An access line, as `GET /path 200 (3 ms)`; None for a line of another kind. What is not of `script` is named."""
    trigger, outcome = record.get("trigger"), record.get("outcome")
    if not isinstance(trigger, str) or not isinstance(outcome, str):
        return None
    status = record.get("status") or 0
    is_fetch = trigger == "fetch"
    what = f"{record.get('method')} {record.get('path')}" if is_fetch else trigger
    whose = "" if _is_own(record, script) else f"[{record.get('script') or 'no worker'}] "
    told = "" if outcome == "ok" and is_fetch else f" {outcome}"
    ended = f" {status}" if is_fetch and status else ""
    return Line(
        printable(f"{whose}{what}{ended}{told} ({_ms(record.get('wall_us'))} ms)"), _tone(outcome, status)
    )


def _is_own(record: Mapping[str, Any], script: str) -> bool:
    return record.get("script") == script and record.get("namespace") == NAMESPACE


def _ms(wall_us: object) -> int:
    return round(wall_us / 1000) if isinstance(wall_us, int) else 0


def _tone(outcome: str, status: int) -> Tone:
    if outcome not in ("ok", "canceled") or status >= 500:
        return "bad"
    return "warning" if status >= 400 else "plain"


def log_line(line: Mapping[str, Any]) -> Line:
    """What the worker wrote, below the requests."""
    level = line.get("level")
    first, *rest = str(line.get("text")).split("\n")
    text = "\n".join(
        [f"  {level_name(level):6} {printable(first)}", *(f"      {printable(each)}" for each in rest)]
    )
    number = level if isinstance(level, int) else 0
    return Line(text, "bad" if number >= _ERROR else "warning" if number >= _WARNING else "plain")


def egress_hint(record: Mapping[str, Any], *, allow_loopback: bool) -> str:
    """What a developer may do about a request of the worker's that did not get out; "" where that is the worker's own
    matter, and for a line of another kind.
    """
    if record.get("event") != "egress":
        return ""
    host, reason = str(record.get("host")), record.get("reason")
    if reason == "address.loopback" and not allow_loopback:
        return "--allow-loopback lets it ask services on this machine"
    if reason == "resolve.not_found" and (host == "localhost" or host.endswith(".localhost")):
        return (
            f"a worker's names are asked of DNS, which does not know {printable(host)} here: write 127.0.0.1"
        )
    return ""


def error_lines(error: CliError) -> Iterator[Line]:
    """What the host refused, without the part and the code that a program would look at."""
    message = error.message
    if isinstance(error, ApiError) and error.problems:
        message = "; ".join(problem.message.removeprefix("main_module: ") for problem in error.problems)
    yield Line(f"error: {indented(message.rstrip())}", "bad")
    if error.hint:
        yield Line(f"hint: {printable(error.hint)}", "warning")


def changed_text(paths: Sequence[Path], root: Path) -> str:
    """Which files changed, by the names that their author knows them by."""
    names = sorted(
        path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path) for path in paths
    )
    shown = ", ".join(printable(name) for name in names[:_MOST_NAMES])
    return shown + (f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else "")
