"""What an event says of itself while it runs, for its script's tail consumers. Its lines are bounded by its limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from model.messages import Headers, IncomingRequest
from model.traces import TracedLine

#: A header whose name has one of these in it is told without its value.
_PRIVATE: Final = ("auth", "cookie", "key", "secret", "token", "jwt")
_REDACTED: Final = "REDACTED"
_TEXT: Final = 4_096


class TraceNotes:
    """Of one event that is traced."""

    __slots__ = ("lines",)

    def __init__(self) -> None:
        self.lines: list[TracedLine] = []

    def add(self, at_ms: int, level: int, text: str) -> None:
        self.lines.append(TracedLine(at_ms, level, text))


def request_event(request: IncomingRequest, status: int) -> dict[str, object]:
    """What was asked of a `fetch` handler, or of a method. `status` 0: it answered nothing."""
    if request.entry is not None and request.entry.call is not None:
        return {"rpcMethod": request.entry.call}
    told: dict[str, object] = {
        "request": {
            "url": request.url[:_TEXT],
            "method": request.method,
            "headers": _shown(request.headers),
        }
    }
    if status:
        told["response"] = {"status": status}
    return told


def background_event(trigger: str, value: Mapping[str, object]) -> dict[str, object] | None:
    """What a `queue` or `scheduled` handler was given."""
    match trigger:
        case "queue":
            messages = value.get("messages")
            return {
                "queue": value.get("queue"),
                "batchSize": len(messages) if isinstance(messages, list) else 0,
            }
        case "scheduled":
            return {"cron": value.get("cron"), "scheduledTime": value.get("scheduled_time_ms")}
    return None


def _shown(headers: Headers) -> dict[str, str]:
    shown: dict[str, str] = {}
    for name, value in headers:
        key = name.decode("ascii", "replace")
        text = _REDACTED if any(part in key for part in _PRIVATE) else value.decode("latin-1")[:_TEXT]
        shown[key] = f"{shown[key]}, {text}" if key in shown else text
    return shown
