"""Records for the tests of this package."""

from __future__ import annotations

from model.identity import NamespaceName, RayId, TenantId
from model.observer import EventRecord, LogLine
from model.outcome import EventOutcome


def event(
    *,
    trigger: str = "fetch",
    outcome: EventOutcome = EventOutcome.OK,
    cpu_us: int = 70,
    path: str = "/",
    error: str = "",
) -> EventRecord:
    return EventRecord(
        ray_id=RayId("0123456789abcdef"),
        trigger=trigger,
        namespace=NamespaceName("production"),
        script="hello",
        tenant="alice",
        outcome=outcome,
        status=200,
        cpu_us=cpu_us,
        wall_us=1_500,
        peak_memory_bytes=65_536,
        subrequests=2,
        bytes_in=3,
        bytes_out=5,
        method="GET",
        hostname="hello.example.com",
        path=path,
        error=error,
    )


def log_line(text: str, script: str = "hello", namespace: str | None = "production") -> LogLine:
    name = None if namespace is None else NamespaceName(namespace)
    return LogLine(1_700_000_000_000, 1, text, RayId("0123456789abcdef"), name, script, TenantId("acme"))
