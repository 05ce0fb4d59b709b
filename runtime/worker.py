"""Run one event of one script version, from its bytes to its end: Worker.fetch, .queue, .scheduled.

A Worker is made once for a script version and process; each event gets a sandbox of its own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any

from model.capabilities import EventContext, OperationTable, WorkerEnv
from model.limits import BACKGROUND_LIMITS, FETCH_LIMITS, Limits, combine
from model.messages import IncomingRequest, Responder, Visitor
from model.observer import Observer
from model.scripts import BindingKind, ScriptVersion
from model.traces import Traced, untold
from runtime.background_event import BackgroundEvent
from runtime.capi.engine_store import Engine
from runtime.fetch_event import FetchEvent
from runtime.fiber import Lanes
from runtime.instance_pool import InstancePool
from runtime.metering import Ending
from runtime.running import RunningEvents


@dataclass(slots=True)
class RuntimeHost:
    """What all workers of a process share."""

    engine: Engine
    lanes: Lanes
    pool: InstancePool
    operations: OperationTable
    observer: Observer
    running: RunningEvents
    #: Told what became of events whose scripts name a tail consumer.
    traced: Traced = untold


class Worker:
    """`env` is what this version is lent; `version` says what it may use."""

    def __init__(self, host: RuntimeHost, version: ScriptVersion, env: WorkerEnv) -> None:
        self.version = version
        self.env = env
        self.host = host
        self.variables = tuple(f"{name}={value}\0".encode() for name, value in env.vars.items())
        ceiling = host.engine.settings.memory_bytes
        self.fetch_limits, self.background_limits = _limits_of(tuple(sorted(version.limits.items())), ceiling)
        #: Its script has tail consumers.
        self.is_traced = bool(version.tail_consumers)
        #: Its events begin in the pool lane until then (monotonic).
        self.off_loop_until_s = 0.0
        #: (name, type) of each binding, for the event of a worker in JavaScript, whose `env` is made of them.
        self.told_bindings: tuple[tuple[str, str], ...] | None = None
        #: Memory that one of its events is expected to touch, if that is much: what admission counts.
        self.expected_bytes = 0

    def tell_bindings(self) -> None:
        """It is in JavaScript: its events say what it is bound to. Plain text is in `vars` alone."""
        self.told_bindings = tuple(
            (spec.name, spec.kind.value)
            for spec in self.version.bindings
            if spec.kind is not BindingKind.PLAIN_TEXT
        )

    def begin_fetch(
        self,
        request: IncomingRequest,
        responder: Responder,
        context: EventContext,
        params: Mapping[str, str],
        limits: Mapping[str, int] | None = None,
        visitor: Visitor | None = None,
    ) -> Ending | Coroutine[Any, Any, Ending]:
        """Answer one request, as far as can be done without waiting: the ending, or what is to be awaited for it, at
        once. When the ending is not OK and `responder` has not started, the caller shows a page; when it had
        started, it was aborted.
        """
        allowed = self._narrowed(tuple(sorted(limits.items()))) if limits else self.fetch_limits
        return FetchEvent(self, context, allowed, request, params, responder, visitor).begin()

    async def fetch(
        self,
        request: IncomingRequest,
        responder: Responder,
        context: EventContext,
        params: Mapping[str, str],
        limits: Mapping[str, int] | None = None,
        visitor: Visitor | None = None,
    ) -> Ending:
        """As `begin_fetch`, to the end."""
        begun = self.begin_fetch(request, responder, context, params, limits, visitor)
        return begun if isinstance(begun, Ending) else await begun

    async def background(
        self, handler: str, value: Mapping[str, object], context: EventContext
    ) -> tuple[Ending, object]:
        """Run `queue`, `scheduled` or `tail` on an event that no visitor waits for; `value` is as the ABI has it.

        The second of the pair is what the handler returned, None for 0; with an ending that is not OK it is an
        `{error: …}`, if the handler came to return anything.
        """
        event = BackgroundEvent(self, context, handler, value)
        ending = await event.run()
        return ending, event.answer

    async def scheduled(self, value: Mapping[str, object], context: EventContext) -> tuple[Ending, int]:
        """Run `scheduled`; the second of the pair is the µs of CPU time that it used."""
        event = BackgroundEvent(self, context, "scheduled", value)
        ending = await event.run()
        return ending, event.cpu_us

    @functools.cached_property
    def _narrowed(self) -> Callable[[tuple[tuple[str, int], ...]], Limits]:
        # Called in a loop by dispatchers: the same few limits come again and again. Most workers never need it.
        return functools.lru_cache(maxsize=64)(self._narrow)

    def _narrow(self, limits: tuple[tuple[str, int], ...]) -> Limits:
        known = {name: value for name, value in limits if name in Limits.__slots__}
        return combine(self.fetch_limits, replace(self.fetch_limits, **known))


@functools.lru_cache(maxsize=1_024)
def _limits_of(given: tuple[tuple[str, int], ...], memory_ceiling: int) -> tuple[Limits, Limits]:
    """Of a fetch, and of other events. Tenants of one plan have the same."""
    known = {name: value for name, value in given if name in Limits.__slots__}
    fetch, background = (replace(limits, **known) for limits in (FETCH_LIMITS, BACKGROUND_LIMITS))
    return _bounded(fetch, memory_ceiling), _bounded(background, memory_ceiling)


def _bounded(limits: Limits, memory_ceiling: int) -> Limits:
    return replace(limits, memory_bytes=min(limits.memory_bytes, memory_ceiling))
