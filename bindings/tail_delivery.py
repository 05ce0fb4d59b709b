"""Tell tail consumers what became of other workers' events: at most once, in batches, and never at the producers' cost.

An event leaves its trace here when it has ended, and waits for nobody. What finds no room, or whose consumer fails, is
dropped and counted. Each process tells of its own events. No tenant has all of the room, nor all turns of consumers.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple
from weakref import WeakValueDictionary

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
    #: What waits for one consumer, of one tenant, and of all of them.
    consumer_bytes: int = 4 << 20
    tenant_bytes: int = 2 << 20
    total_bytes: int = 16 << 20
    #: Consumers that run at once, and those of one tenant.
    running: int = 16
    tenant_running: int = 4


class _Asked(NamedTuple):
    """Whose event it was, and by which name its script asks for the consumer."""

    account: AccountId
    namespace: NamespaceName | None
    tenant: TenantId
    name: str

    @property
    def owner(self) -> tuple[AccountId, TenantId]:
        return self.account, self.tenant


class _Left(NamedTuple):
    """A trace that waits."""

    item: Item
    weight: int
    hops: int
    owner: tuple[AccountId, TenantId]


@dataclass(slots=True)
class _Waiting:
    """Of one consumer."""

    #: Of the newest: a namespace's consumer is told of one tenant's scripts alone.
    asked: _Asked
    items: deque[_Left] = field(default_factory=deque)
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
        self._bytes_of: Counter[tuple[AccountId, TenantId]] = Counter()
        self._room = asyncio.Semaphore(self._settings.running)
        #: By tenant, as long as one of its consumers runs or waits for its turn.
        self._turns: WeakValueDictionary[Hashable, asyncio.Semaphore] = WeakValueDictionary()
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
            asked = _Asked(context.account, context.namespace, context.tenant, name)
            ref = consumer_of(self._lookup, *asked)
            if ref is None or self._stopping or not self._has_room(weight, asked.owner):
                self._told("dropped", 1)
                continue
            waiting = self._waiting.get(ref) or _Waiting(asked)
            if ref.namespace is not None and waiting.asked.owner != asked.owner:
                self._drop(waiting)  # what waits is of who had the consumer's name before
            if waiting.bytes + weight > self._settings.consumer_bytes:
                self._told("dropped", 1)
                continue
            self._waiting[ref] = waiting
            waiting.asked = asked
            item = item or item_of(trace)
            waiting.items.append(_Left(item, weight, context.hops, asked.owner))
            self._count(waiting, weight, asked.owner)
            if len(waiting.items) >= self._settings.batch or waiting.bytes >= self._settings.batch_bytes:
                waiting.hurry.set()
            if ref not in self._tasks:
                self._tasks[ref] = asyncio.get_running_loop().create_task(self._deliver(ref, waiting))

    def _has_room(self, weight: int, owner: tuple[AccountId, TenantId]) -> bool:
        settings = self._settings
        own = self._bytes_of[owner] + weight
        return own <= settings.tenant_bytes and self._bytes + weight <= settings.total_bytes

    def _count(self, waiting: _Waiting, weight: int, owner: tuple[AccountId, TenantId]) -> None:
        """`weight` more wait, or fewer."""
        waiting.bytes += weight
        self._bytes += weight
        self._bytes_of[owner] += weight
        if not self._bytes_of[owner]:
            del self._bytes_of[owner]

    def _take(self, waiting: _Waiting) -> _Left:
        left = waiting.items.popleft()
        self._count(waiting, -left.weight, left.owner)
        return left

    def _drop(self, waiting: _Waiting) -> None:
        count = len(waiting.items)
        while waiting.items:
            self._take(waiting)
        if count:
            self._told("dropped", count)

    def _turn(self, ref: ScriptRef, asked: _Asked) -> asyncio.Semaphore:
        """Of the consumer's tenant; a plain one is nobody's, and has its own."""
        key: Hashable = ref if ref.namespace is None else asked.owner
        turn = self._turns.get(key)
        if turn is None:
            turn = self._turns[key] = asyncio.Semaphore(self._settings.tenant_running)
        return turn

    async def _deliver(self, ref: ScriptRef, waiting: _Waiting) -> None:
        """Until nothing waits for it."""
        try:
            while waiting.items:
                if not self._stopping:
                    await _until(waiting.hurry, self._settings.wait_s)
                waiting.hurry.clear()
                async with self._turn(ref, waiting.asked), self._room:
                    await self._give(ref, waiting)
        finally:
            del self._waiting[ref], self._tasks[ref]
            self._drop(waiting)

    async def _give(self, ref: ScriptRef, waiting: _Waiting) -> None:
        batch: list[Item] = []
        size = hops = 0
        while waiting.items and len(batch) < self._settings.batch:
            if batch and size + waiting.items[0].weight > self._settings.batch_bytes:
                break
            left = self._take(waiting)
            batch.append(left.item)
            size += left.weight
            hops = max(hops, left.hops)
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
