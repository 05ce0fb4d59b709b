"""An event's trace as a tail handler is given it: Cloudflare's TraceItem, as far as there is something to say. Pure."""

from __future__ import annotations

from typing import Final

from model.observer import text_bytes
from model.outcome import EventOutcome
from model.traces import EventTrace, TracedLine

_LEVELS: Final = ("debug", "log", "info", "warn", "error")
_UNCAUGHT: Final = 5
_BEGINNING: Final = "Uncaught "
_FRAME: Final = "\n    at "
_ERROR_NAME: Final = 100
#: What an item weighs beside its texts.
_OVERHEAD: Final = 600

Item = dict[str, object]


def item_of(trace: EventTrace) -> Item:
    context = trace.context
    logs = [line for line in trace.lines if line.level < _UNCAUGHT]
    exceptions = [_exception(line) for line in trace.lines if line.level >= _UNCAUGHT]
    if not exceptions and trace.error and trace.outcome not in (EventOutcome.OK, EventOutcome.CANCELED):
        ended_ms = trace.started_ms + trace.wall_us // 1_000
        exceptions = [{"timestamp": ended_ms, "name": "Error", "message": trace.error}]
    return {
        "scriptName": context.script,
        "dispatchNamespace": context.namespace,
        "scriptTags": list(context.tags),
        "scriptVersion": {"id": context.version},
        "outcome": trace.outcome.value,
        "event": trace.event,
        "eventTimestamp": trace.started_ms,
        "cpuTime": trace.cpu_us // 1_000,
        "wallTime": trace.wall_us // 1_000,
        "logs": [
            {"timestamp": line.at_ms, "level": _LEVELS[line.level], "message": [line.text]} for line in logs
        ],
        "exceptions": exceptions,
        "diagnosticsChannelEvents": [],
        "truncated": trace.is_cut,
        "executionModel": "stateless",
    }


def weight_of(trace: EventTrace) -> int:
    """Bytes that its item has, roughly: what is held is bounded by it."""
    texts = (str(trace.event), trace.error, *(line.text for line in trace.lines))
    return _OVERHEAD + 100 * len(trace.lines) + sum(map(text_bytes, texts))


def _exception(line: TracedLine) -> dict[str, object]:
    """`Uncaught (in promise) TypeError: no` and its frames, taken apart."""
    text = line.text.removeprefix(_BEGINNING)
    if text.startswith("(") and ") " in text[:_ERROR_NAME]:
        text = text.partition(") ")[2]
    head, frame, _ = text.partition(_FRAME)
    name, colon, message = head.partition(": ")
    if not colon and head.isidentifier() and head.endswith("Error"):
        name, message = head, ""
    elif not colon or len(name) > _ERROR_NAME or not name.isidentifier():
        name, message = "Error", head
    told: dict[str, object] = {"timestamp": line.at_ms, "name": name, "message": message}
    if frame:
        told["stack"] = text
    return told
