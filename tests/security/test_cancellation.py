"""Wherever an event is cut off, nothing of it lives on: no store, permit, task, stream or slice of a thread.

Each worker is run again and again, and cut off at its first, second, … suspension, until it ends by itself: its
task cancelled there, cancelled there and at the next one too, its visitor gone, or its time over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Sequence
from types import SimpleNamespace
from typing import Any, Final, cast

import pytest

from bindings.operations import OPERATIONS
from dispatch.app import DispatchApp
from dispatch.route_index import RouteIndex
from dispatch.trusted_proxies import TrustedProxies
from dispatch.workers import Workers
from model.capabilities import Binding, EventContext, KvEntry, KvPage, WorkerEnv
from model.identity import DEFAULT_ACCOUNT, RayId, ScriptName, TenantId, VersionId
from model.messages import Headers
from model.outcome import EventOutcome
from model.scripts import ScriptRef
from runtime import metering
from runtime.capi.guest import live_guests
from runtime.metering import Ending
from tests.security.calling import call, caller
from tests.security.test_trees import Tree
from tests.support.guests import Remembered, request, sample
from tests.support.hostile_modules import ANSWER, worker
from tests.support.visitors import Visitor

MIB: Final = 1 << 20
#: No event here suspends so often: one that does is not ended by being cut off.
MOST_SUSPENSIONS: Final = 400


class CutOff:
    """Awaits `inner`, and calls `strike` when it suspends for the `at`-th time."""

    def __init__(self, inner: Coroutine[Any, Any, Ending], at: int, strike: Callable[[int], None]) -> None:
        self._inner = inner
        self._at = at
        self._strike = strike
        self.suspensions = 0

    def __await__(self) -> Generator[Any, Any, Ending]:
        steps = self._inner.__await__()
        error: BaseException | None = None
        while True:
            try:
                waits_for = steps.send(None) if error is None else steps.throw(error)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            error = None
            if self.suspensions >= self._at:
                self._strike(self.suspensions - self._at)
            self.suspensions += 1
            try:
                yield waits_for
            except BaseException as thrown:
                error = thrown


class Body:
    """Two chunks, each waited for."""

    def __init__(self) -> None:
        self._left = 2
        self.closed = False

    async def read(self) -> bytes:
        await asyncio.sleep(0)
        self._left -= 1
        return b"x" * 1_000 if self._left >= 0 else b""

    def close(self) -> None:
        self.closed = True


class Taking(Remembered):
    """A visitor who takes a turn for each piece."""

    async def start(self, status: int, headers: Headers) -> None:
        await asyncio.sleep(0)
        await super().start(status, headers)

    async def write(self, data: bytes) -> None:
        await asyncio.sleep(0)
        await super().write(data)

    async def end(self) -> None:
        await asyncio.sleep(0)
        await super().end()


class MemoryKv:
    """A KvNamespace that takes a turn or two for each operation."""

    def __init__(self) -> None:
        self.entries: dict[str, KvEntry] = {}
        self.now = 0

    async def _turn(self) -> None:
        self.now += 1
        try:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        finally:
            self.now -= 1

    async def get(self, key: str) -> KvEntry | None:
        await self._turn()
        return self.entries.get(key)

    async def get_many(self, keys: Sequence[str], max_bytes: int) -> dict[str, KvEntry]:
        await self._turn()
        return {key: self.entries[key] for key in keys if key in self.entries}

    async def put(self, key: str, entry: KvEntry) -> None:
        await self._turn()
        self.entries[key] = entry

    async def delete(self, key: str) -> None:
        await self._turn()
        self.entries.pop(key, None)

    async def list(self, prefix: str, limit: int, cursor: str | None) -> KvPage:
        await self._turn()
        return KvPage([], None)


#: Reads the request's body, does KV, sleeps, streams an answer, and works on after it.
EVERYTHING: Final = caller(
    call([1, "stream.read", None, 1, 600], [2, "kv.put", "KV", "key", b"value", {}]),
    call([3, "kv.get", "KV", "key"], [4, "stream.open", None]),
    call([5, "sleep", None, 1]),
    call([6, "response.start", None, 200, []], [7, "stream.read", None, 1, 600]),
    call([8, "response.write", None, b"one"], [9, "response.write", None, b"two"], wait="none"),
    call([10, "stream.read", None, 1, 600], [11, "sleep", None, 60_000], wait="any"),
    call([12, "response.end", None], cancel=[11]),
    call([13, "sleep", None, 1], [14, "kv.put", "KV", "late", b"value", {}]),
    call([15, "kv.delete", "KV", "late"], wait="none"),
    answers=False,
)
#: Computes for some 6 ms: on the loop, at the gate, and in the pool.
COMPUTES: Final = worker(
    "(loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 8000000))))"
    + ANSWER
)
#: Has a store that is deleted in a thread.
LARGE: Final = worker(f"(drop (memory.grow (i32.const 200))) {ANSWER}")
WORKERS: Final = {
    "everything": (EVERYTHING, "/"),
    "computes": (COMPUTES, "/"),
    "large": (LARGE, "/"),
    "passes the body on": (sample("echo"), "/?pass"),
    "sums the body up": (sample("upload_sum"), "/"),
    "calls others": (caller(call([1, "run", None, "middle"], [2, "run", None, "last"])), "/"),
    "leaves others": (caller(call([1, "run", None, "sleeper"], timeout_ms=1)), "/"),
}


#: So that none of them comes to run without a wait, and holds nothing.
LEAST_SUSPENSIONS: Final = dict.fromkeys(WORKERS, 1) | {
    "everything": 8,
    "computes": 3,
    "passes the body on": 4,
}


class Cut:
    """One worker, and how its events are cut off."""

    def __init__(self, name: str, how: str) -> None:
        self.tree = tree = Tree()
        guests = tree.guests
        guests.host.operations = {**OPERATIONS, **guests.host.operations}
        self.kv = MemoryKv()
        env = WorkerEnv(bindings={"KV": Binding("kv_namespace", self.kv)})
        for nested, wasm in (
            (
                "middle",
                caller(
                    call([1, "response.start", None, 200, []], [2, "response.end", None]),
                    call([3, "run", None, "last"]),
                    answers=False,
                ),
            ),
            ("last", caller(call([1, "sleep", None, 1]))),
            ("sleeper", caller(call([1, "sleep", None, 60_000]))),
        ):
            tree.deploy(nested, wasm)
        wasm, self.path = WORKERS[name]
        self.worker = guests.worker(wasm, env=env, limits={"cpu_ms": 10_000})
        self.how = how

    async def run(self, at: int) -> tuple[bool, Ending | None]:
        """Cut off at the `at`-th suspension: whether it came to that, and the ending, if it had one."""
        tree = self.tree
        permit = tree.admission.try_admit("tenant")
        assert permit is not None
        whose = EventContext(
            DEFAULT_ACCOUNT,
            None,
            ScriptName("worker"),
            VersionId("v1"),
            TenantId("tenant"),
            (),
            RayId("ray"),
            0,
            permit,
        )
        visitor, body, responder = Visitor(), Body(), Taking()
        self.last = responder
        struck = 0

        def strike(later: int) -> None:
            nonlocal struck
            if later > (self.how == "cancelled twice"):
                return
            struck += 1
            if self.how.startswith("cancelled"):
                task.cancel()
            elif self.how == "visitor left":
                visitor.leave()
            else:
                for running in list(tree.guests.host.running):
                    running.event.doom(metering.WALL)

        event = self.worker.fetch(request("POST", self.path, body=body), responder, whose, {}, None, visitor)
        cut = CutOff(event, at, strike)

        async def run() -> Ending:
            return await cut

        task = asyncio.create_task(run())
        await asyncio.wait([task], timeout=60)
        assert task.done(), "it does not end"
        await asyncio.wait_for(tree.runner.wait_for_tree(permit), 60)
        permit.release()
        assert visitor.on_leave is None
        assert body.closed
        self.assert_nothing_lives()
        await _tasks_end()
        assert self.kv.now == 0
        if struck and self.how.startswith("cancelled"):
            assert task.cancelled()
            return True, None
        ending = task.result()
        assert responder.ended or responder.aborted or not responder.started
        return bool(struck), ending

    def assert_nothing_lives(self) -> None:
        tree = self.tree
        assert live_guests() == 0
        assert len(tree.guests.host.running) == 0
        assert (tree.admission.running, tree.admission.suspended, tree.admission.slots) == (0, 0, 0)
        assert not tree.runner._tasks
        assert all(loaded.users == 0 for loaded in tree.guests.host.pool._loaded.values())
        lanes = tree.guests.host.lanes
        assert (lanes._pool._free, lanes._pool.waiting) == (1, 0)
        assert not lanes._gate.locked()


async def _tasks_end() -> None:
    """Operations that were cancelled end in a few turns; the sweeper and the test go on."""
    for _ in range(20):
        if len(asyncio.all_tasks()) <= 2:
            return
        await asyncio.sleep(0)
    pytest.fail(f"tasks live on: {asyncio.all_tasks()}")


def _ends_well(_ending: Ending) -> bool:
    return _ending.outcome in (EventOutcome.OK, EventOutcome.CANCELED, EventOutcome.EXCEEDED_WALL_TIME)


@pytest.mark.parametrize("how", ["cancelled", "cancelled twice", "visitor left", "time is over"])
@pytest.mark.parametrize("name", WORKERS)
async def test_nothing_lives_on_wherever_an_event_is_cut_off(name: str, how: str) -> None:
    cut = Cut(name, how)
    at = 0
    while True:
        struck, ending = await cut.run(at)
        if ending is not None:
            assert _ends_well(ending), (at, ending)
        if not struck:
            break
        at += 1
        assert at < MOST_SUSPENSIONS
    assert ending is not None
    assert ending.outcome is EventOutcome.OK, ending
    assert at >= LEAST_SUSPENSIONS[name], "it was cut off at fewer places than it has"
    if name == "everything":
        assert cut.kv.entries["key"].value == b"value"
        assert bytes(cut.last.body) == b"onetwo"
    cut.tree.guests.close()


async def test_request_that_is_cancelled_while_it_waits_for_its_tree_gives_its_permit_back() -> None:
    """The caller has ended, what it called sleeps on: only the application's own task waits."""
    tree = Tree()
    tree.deploy(
        "sleeper",
        caller(
            call([1, "response.start", None, 200, []], [2, "response.end", None]),
            call([3, "sleep", None, 60_000]),
            answers=False,
        ),
    )
    tree.deploy("caller", caller(call([1, "run", None, "sleeper"])))
    routed = SimpleNamespace(target=SimpleNamespace(script=ScriptRef(None, ScriptName("caller"))))
    index = cast(RouteIndex, SimpleNamespace(match=lambda *_: routed))
    app = DispatchApp(
        index,
        cast(Workers, tree),
        tree.runner,
        tree.admission,
        tree.guests.observer,
        lambda _path: None,
        TrustedProxies(()),
        {},
        lambda _value: 0,
    )
    sent = asyncio.Event()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            sent.set()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope: dict[str, Any] = {
        "type": "http",
        "http_version": "1.1",
        "scheme": "http",
        "method": "GET",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "headers": [(b"host", b"a.example")],
        "client": ("127.0.0.1", 1),
        "extensions": {},
    }
    task = asyncio.create_task(app(scope, receive, send))
    await asyncio.wait_for(sent.wait(), 60)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task], timeout=60)
    assert task.cancelled()
    assert (tree.admission.running, tree.admission.suspended, tree.admission.slots) == (0, 0, 0)
    tree.guests.host.running.doom_all()
    assert await tree.guests.host.running.drained(60)
    tree.guests.close()
