"""What one event may use. Defaults are design decisions; docs/limits.md says how to raise each."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds of one event. All are inclusive."""

    #: CPU time of the guest and of decoding what it asked, in ms. Waiting is free.
    cpu_ms: int = 50
    #: From the event's start to its end, in ms; not counted after the response.
    wall_ms: int = 30_000
    #: Linear memory, in bytes.
    memory_bytes: int = 128 * MIB
    #: Requests that leave the sandbox: fetch, KV, queues, service and dispatch calls.
    subrequests: int = 50
    #: Host operations of any kind, except those that carry a body's chunks.
    operations: int = 1_000
    #: Of the visitor's request, in bytes.
    request_body_bytes: int = 100 * MIB
    #: Log lines of one event, and their bytes together.
    log_lines: int = 256
    log_bytes: int = 128 * 1024
    #: Of a response's headers, names and values together, in bytes.
    response_header_bytes: int = 128 * 1024
    #: How long a handler may go on after its response has ended, in ms.
    background_ms: int = 30_000


FETCH_LIMITS = Limits()
#: A queue batch or a cron tick: nobody waits for it.
BACKGROUND_LIMITS = replace(FETCH_LIMITS, cpu_ms=30_000, wall_ms=15 * 60_000)


def combine(plan: Limits, custom: Limits) -> Limits:
    """The lower of each: who calls may narrow what the plan gives, never widen it."""
    return Limits(**{f.name: min(getattr(plan, f.name), getattr(custom, f.name)) for f in fields(Limits)})
