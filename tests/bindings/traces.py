"""Traces of events, for tests."""

from __future__ import annotations

from typing import Any

from bindings.memory import MemoryEvent
from model.identity import NamespaceName, ScriptName, TenantId
from model.outcome import EventOutcome
from model.traces import EventTrace, TracedLine

PROD = NamespaceName("prod")


def trace(
    *lines: tuple[int, str],
    script: str = "shop",
    namespace: str | None = "prod",
    tenant: str = "acme",
    consumers: tuple[str, ...] = ("tail",),
    outcome: EventOutcome = EventOutcome.OK,
    error: str = "",
    hops: int = 0,
    event: Any = None,
    is_cut: bool = False,
) -> EventTrace:
    context = MemoryEvent().context
    context.namespace = NamespaceName(namespace) if namespace else None
    context.script, context.tenant, context.hops = ScriptName(script), TenantId(tenant), hops
    context.tags = ("tenant:acme",)
    told = tuple(TracedLine(1_000 + at, level, text) for at, (level, text) in enumerate(lines))
    return EventTrace(context, consumers, event, outcome, error, 1_000, 2_500, 7_900, told, is_cut)
