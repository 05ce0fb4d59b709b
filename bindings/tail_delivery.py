"""Tell tail consumers what became of other workers' events: at most once, in batches, and never at the producers' cost.

An event leaves its trace here when it has ended, and waits for nobody. What finds no room, or whose consumer fails, is
dropped and counted. Each process tells of its own events.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from bindings.service import Lookup
from bindings.trace_items import Item, item_of, weight_of
from model.errors import PlatformError, PlatformFault
from model.identity import AccountId, NamespaceName, ScriptName, TenantId
from model.scripts import ScriptRef
from model.traces import EventTrace

_log = logging.getLogger("tenantry.tails")

Result = Literal["delivered", "failed", "dropped"]
#: (consumer, items, the most hops that lie behind any of them) → whether its handler ended well. Raising a
#: PlatformError says that nothing has run.
RunTail = Callable[[ScriptRef, Sequence[Item], int], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class TailSettings:
    #: A batch is given once it has this many, or once its oldest has waited so long.
    batch: int = 100
    wait_s: float = 1.0
    batch_bytes: int = 1 << 20
    #: What waits for one consumer, and for all of them.
    consumer_bytes: int = 2 << 20
    total_bytes: int = 16 << 20
    #: Consumers that run at once.
    running: int = 16


@dataclass(slots=True)
class _Waiting:
    """Of one consumer: (item, its weight, hops)."""

    #: Of whom the newest is, and by which name: a namespace's consumer is told of one tenant's scripts alone.
    asked: tuple[AccountId, NamespaceName | None, TenantId, str]
    items: deque[tuple[Item, int, int]] = field(default_factory=deque)
    bytes: int = 0
    #: There are enough for a batch, or nobody is to wait any more.
    hurry: asyncio.Event = field(default_factory=asyncio.Event)


class TailDelivery:
    """For one thread, the loop's. `told` counts what became of items."""

    def __init__(
        self,
        lookup: Lookup,
        run: RunTail,
        told: Callable[[Result, int], None],
        settings: TailSettings | None = None,
    ) -> None:
        self._lookup = lookup
        self._run = run
        self._told = told
        self._settings = settings or TailSettings()
        self._waiting: dict[ScriptRef, _Waiting] = {}
        self._tasks: dict[ScriptRef, asyncio.Task[None]] = {}
        self._bytes = 0
        self._room = asyncio.Semaphore(self._settings.running)
        self._stopping = False

    @property
    def waiting_bytes(self) -> int:
        return self._bytes

    def offer(self, trace: EventTrace) -> None:
        """Never waits, never raises."""
        try:
            self._offer(trace)
        except Exception:
            # An event ends here: nothing of its trace may keep it from that.
            _log.exception("an event's trace was lost")
            self._told("dropped", len(trace.consumers))

    def _offer(self, trace: EventTrace) -> None:
        weight, context = weight_of(trace), trace.context
        item: Item | None = None
        for name in trace.consumers:
            asked = (context.account, context.namespace, context.tenant, name)
            ref = consumer_of(self._lookup, *asked)
            if ref is None or self._stopping or self._bytes + weight > self._settings.total_bytes:
                self._told("dropped", 1)
                continue
            waiting = self._waiting.get(ref) or _Waiting(asked)
            if waiting.bytes + weight > self._settings.consumer_bytes:
                self._told("dropped", 1)
                continue
            self._waiting[ref] = waiting
            waiting.asked = asked
            item = item or item_of(trace)
            waiting.items.append((item, weight, trace.context.hops))
            waiting.bytes += weight
            self._bytes += weight
            if len(waiting.items) >= self._settings.batch or waiting.bytes >= self._settings.batch_bytes:
                waiting.hurry.set()
            if ref not in self._tasks:
                self._tasks[ref] = asyncio.get_running_loop().create_task(self._deliver(ref, waiting))

    async def _deliver(self, ref: ScriptRef, waiting: _Waiting) -> None:
        """Until nothing waits for it."""
        try:
            while waiting.items:
                if not self._stopping:
                    await _until(waiting.hurry, self._settings.wait_s)
                waiting.hurry.clear()
                async with self._room:
                    await self._give(ref, waiting)
        finally:
            left = len(waiting.items)
            self._bytes -= waiting.bytes
            del self._waiting[ref], self._tasks[ref]
            if left:
                self._told("dropped", left)

    async def _give(self, ref: ScriptRef, waiting: _Waiting) -> None:
        batch: list[Item] = []
        size = hops = 0
        while waiting.items and len(batch) < self._settings.batch:
            item, weight, behind = waiting.items[0]
            if batch and size + weight > self._settings.batch_bytes:
                break
            waiting.items.popleft()
            batch.append(item)
            size += weight
            hops = max(hops, behind)
        waiting.bytes -= size
        self._bytes -= size
        result: Result = "failed"
        try:
            if consumer_of(self._lookup, *waiting.asked) != ref:
                raise PlatformFault(f"{ref} is another's by now")
            if await self._run(ref, batch, hops):
                result = "delivered"
        except PlatformError as error:
            _log.debug("%s: %d traces: %s", ref, len(batch), error.message)
            result = "dropped"
        except Exception:
            _log.exception("the tail of %s failed in the host", ref)
        finally:
            self._told(result, len(batch))

    async def stop(self, drain_s: float) -> None:
        """Take no more; give what waits, for as long as `drain_s`."""
        self._stopping = True
        for waiting in self._waiting.values():
            waiting.hurry.set()
        tasks = list(self._tasks.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=drain_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)


def consumer_of(
    lookup: Lookup, account: AccountId, namespace: NamespaceName | None, tenant: TenantId, name: str
) -> ScriptRef | None:
    """The script that is told of events of this tenant's scripts, looked up as a service is: the namespace's own first,
    then a plain one. None: there is none, it has no `tail` handler, or it is another tenant's by now.
    """
    for place in dict.fromkeys((namespace, None)):
        found = lookup(ScriptRef(place, ScriptName(name)))
        if found is None or found.account != account:
            continue
        is_own = place is None or found.tenant == tenant
        return found.ref if is_own and "tail" in found.handlers else None
    return None


async def _until(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
