"""What is told to whoever watches. Every method is optional: the base class does nothing."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from model.identity import NamespaceName, RayId, ScriptName, TenantId
from model.outcome import EventOutcome


class EventRecord(msgspec.Struct, gc=False):
    """One event, when all of it is over. Becomes one access line, one set of counters, usage.

    Its fields are those of the line, by the names that they have there.
    """

    ray_id: RayId
    #: "fetch", "queue", "scheduled", "tail"
    trigger: str
    namespace: NamespaceName | None
    script: ScriptName | str
    tenant: TenantId | str
    outcome: EventOutcome
    #: What the visitor got; 0 for a trigger without one.
    status: int
    cpu_us: int
    wall_us: int
    peak_memory_bytes: int = msgspec.field(name="memory_bytes")
    subrequests: int
    bytes_in: int
    bytes_out: int
    method: str = ""
    hostname: str = ""
    path: str = ""
    #: For the operator and the tenant's log: why it did not end well.
    error: str = ""
    depth: int = 0


@dataclass(slots=True)
class LogLine:
    """One line that a guest wrote, by `log`, stdout or stderr. level: 0 debug, 1 info… 4 error."""

    at_ms: int
    level: int
    text: str
    ray_id: RayId
    namespace: NamespaceName | None
    script: ScriptName | str
    #: Whose worker wrote it: a name may be another tenant's tomorrow.
    tenant: TenantId | str
    #: Digest of the module that a stack trace in `text` speaks of; "" where there is none in it.
    module: str = ""


def text_bytes(text: str) -> int:
    """As UTF-8. Of ASCII, as nearly all lines are, CPython knows it without looking."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


class Observer:
    def completed(self, record: EventRecord) -> None:
        """Once an event, never raises, never waits."""

    def logged(self, line: LogLine) -> None:
        """Once a guest's line that its limits let through."""
