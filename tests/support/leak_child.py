"""A process that runs events of every kind of ending, and looks at what the second half of them left behind.

`python -m tests.support.leak_child EVENTS`. Raises, and so ends with 1, when anything grew; prints what it saw.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from bindings.operations import OPERATIONS
from model.capabilities import EventContext
from model.identity import DEFAULT_ACCOUNT, RayId, ScriptName, TenantId, VersionId
from model.messages import Body
from model.observer import EventRecord, LogLine, Observer
from model.outcome import EventOutcome
from runtime.capi.engine_store import MAX_WASM_STACK, EngineSettings
from runtime.capi.guest import live_guests
from runtime.engine import start_engine
from runtime.worker import Worker
from tests.security.calling import call, caller
from tests.security.test_trees import Tree
from tests.support import guests as support
from tests.support.guests import Remembered, request, sample
from tests.support.hostile_modules import ANSWER, CALL, worker
from tests.support.visitors import Visitor

MIB: Final = 1 << 20
AT_ONCE: Final = 24
#: Some more than the load can ever hold at once.
SLOTS: Final = 96
#: A thread of the pool has the least of a busy machine, also while it holds the interpreter.
PATIENCE_S: Final = 120
#: What half the events may leave: bytes of memory, descriptors, maps.
ALLOWED: Final = {"rss": 2 * MIB, "descriptors": 0, "maps": 16}
#: As many more halves have to leave something until that is a leak.
HALVES: Final = 4


class Counting(Observer):
    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()

    def completed(self, record: EventRecord) -> None:
        self.outcomes[record.outcome.value] += 1

    def logged(self, line: LogLine) -> None:
        pass


class Chunks:
    """A body of `count` chunks; without one it never comes."""

    def __init__(self, count: int | None) -> None:
        self._left = count
        self.closed = False

    async def read(self) -> bytes:
        if self._left is None:
            await asyncio.Event().wait()
            return b""
        await asyncio.sleep(0)
        self._left -= 1
        return b"x" * 5_000 if self._left >= 0 else b""

    def close(self) -> None:
        self.closed = True


class Slow(Remembered):
    """Takes a chunk, and then no more."""

    async def write(self, data: bytes) -> None:
        if self.bytes_out:
            await asyncio.Event().wait()
        await super().write(data)


class Kind(NamedTuple):
    """One way for an event to end."""

    worker: Worker
    outcomes: tuple[EventOutcome, ...]
    path: str = "/"
    body: Callable[[], Body] = lambda: None
    #: When the visitor leaves, s after the beginning; None: never.
    leaves_s: float | None = None
    #: When the event's task is cancelled.
    cancelled_s: float | None = None
    responder: Callable[[], Remembered] = Remembered


SPIN: Final = f"(loop $l (br $l)) {ANSWER}"
GROW: Final = "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable"
SLEEPS: Final = call([1, "sleep", None, 60_000])
STREAMED: Final = call([1, "response.start", None, 200, []], [2, "response.end", None])
STREAM: Final = call([2, "stream.open", None])
TOLD: Final = call([2, "visitor.left", None], wait="any")


class Load:
    """Events, one of each kind after the other, in a tree of workers."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self._deepest: Kind | None = None
        self.observer = tree.guests.host.observer = Counting()
        tree.guests.host.operations = {**OPERATIONS, **tree.guests.host.operations}
        self.kinds = self.make_kinds()

    def make_kinds(self) -> list[Kind]:
        tree, guests = self.tree, self.tree.guests
        ok, exception = (EventOutcome.OK,), (EventOutcome.EXCEPTION,)
        cpu, memory = (EventOutcome.EXCEEDED_CPU,), (EventOutcome.EXCEEDED_MEMORY,)
        left, wall = (EventOutcome.CANCELED,), (EventOutcome.EXCEEDED_WALL_TIME,)
        for name, wasm in (
            ("root", caller(call([1, "run", None, "middle"], [2, "run", None, "trap"]))),
            ("middle", caller(STREAMED, call([4, "run", None, "last"], wait="none"), answers=False)),
            ("last", caller(call([1, "sleep", None, 1]))),
            ("trap", worker("unreachable")),
            ("sleeper", caller(SLEEPS)),
            ("fan", caller(call(*[[n, "run", None, "sleeper"] for n in range(4)], timeout_ms=2))),
            ("waits for sleeper", caller(call([1, "run", None, "sleeper"]))),
        ):
            tree.deploy(name, wasm)
        made = guests.worker
        spinner = made(worker(SPIN), limits={"cpu_ms": 10_000})
        hello, hostile, echo = made(sample("hello")), made(sample("hostile")), made(sample("echo"))
        sleeper = made(caller(SLEEPS))
        streams = made(caller(STREAM, SLEEPS))
        return [
            *[Kind(hello, ok)] * 6,
            Kind(tree.workers["trap"], exception),
            Kind(made(worker(f"(call $f) {ANSWER}", more="(func $f (call $f))")), exception),
            Kind(made(worker(SPIN), limits={"cpu_ms": 2}), cpu),
            Kind(made(worker(GROW), limits={"memory_bytes": 2 * MIB}), memory),
            Kind(made(worker(GROW), limits={"memory_bytes": 10 * MIB}), memory),
            Kind(spinner, left, leaves_s=0),
            Kind(spinner, left, leaves_s=0.008),
            Kind(spinner, (), cancelled_s=0),
            Kind(spinner, (), cancelled_s=0.008),
            Kind(sleeper, left, leaves_s=0.001),
            Kind(sleeper, (), cancelled_s=0.001),
            Kind(streams, left, leaves_s=0.001),
            Kind(made(caller(TOLD, call([1, "sleep", None, 1]))), left, leaves_s=0.001),
            Kind(made(caller(TOLD, SLEEPS), limits={"background_ms": 5}), (*left, *wall), leaves_s=0.001),
            Kind(made(caller(SLEEPS), limits={"wall_ms": 10}), wall),
            Kind(made(sample("upload_sum")), ok, body=lambda: Chunks(5)),
            Kind(made(sample("upload_sum")), left, body=lambda: Chunks(None), leaves_s=0.001),
            Kind(echo, ok, "/", lambda: Chunks(5)),
            Kind(echo, ok, "/?pass", lambda: Chunks(5)),
            Kind(echo, left, "/?pass", lambda: Chunks(None), leaves_s=0.001),
            Kind(echo, (), "/?pass", lambda: Chunks(None), cancelled_s=0.001),
            Kind(hostile, left, "/endless", leaves_s=0.003, responder=Slow),
            Kind(hostile, exception, "/half"),
            Kind(hostile, exception, "/exit"),
            Kind(hostile, exception, "/bad-call?what=pointer"),
            Kind(hostile, ok, "/log?lines=20"),
            Kind(hostile, ok, "/sleeps?times=3"),
            Kind(made(sample("background")), ok, "/?ms=1"),
            Kind(tree.workers["root"], ok),
            Kind(tree.workers["fan"], ok),
            Kind(tree.workers["waits for sleeper"], left, leaves_s=0.002),
            Kind(tree.workers["waits for sleeper"], (), cancelled_s=0.002),
        ]

    async def use_every_slot(self) -> None:
        """All slots there are, by one module, to the ends of their stacks. A slot keeps the pages of its stack,
        some of its memory and the maps of the last module's image: so what is measured after this is the same
        slots in the same state, and what has grown is something else.
        """
        kind = self._deepest = self._deepest or await self._find_deepest()
        outcomes = await asyncio.gather(*(self._event(kind) for _ in range(SLOTS)))
        assert set(outcomes) == {EventOutcome.OK}, outcomes

    async def _find_deepest(self) -> Kind:
        """A worker that waits a second at the end of its stack, its first pages filled."""
        deep = (
            "(func $f (param i32) (if (local.get 0) (then (call $f (i32.sub (local.get 0) (i32.const 1)))"
            " (drop (i32.load (i32.const 0)))) (else (drop (call $call (i32.const 512) (i32.const 18))))))"
        )
        sleeps = '(data (i32.const 512) "\\81\\a3ops\\91\\94\\01\\a5sleep\\c0\\cd\\03\\e8")'
        fills = "(memory.fill (i32.const 1024) (i32.const 1) (i32.const 130000))"

        def reaching(depth: int) -> Kind:
            wasm = worker(f"{fills} (call $f (i32.const {depth})) {ANSWER}", imports=CALL, more=deep + sleeps)
            return Kind(self.tree.guests.worker(wasm, limits={"cpu_ms": 10_000}), (EventOutcome.OK,))

        fits, overflows = 1_000, MAX_WASM_STACK // 16  # a call takes no less than that
        while overflows - fits > 20:
            depth = (fits + overflows) // 2
            if await self._event(reaching(depth)) is EventOutcome.OK:
                fits = depth
            else:
                overflows = depth
        return reaching(fits)

    async def run(self, number: int) -> None:
        kind = self.kinds[number % len(self.kinds)]
        event = asyncio.ensure_future(self._event(kind))
        if kind.cancelled_s is not None:
            await asyncio.sleep(kind.cancelled_s)
            event.cancel()
        await asyncio.wait([event], timeout=PATIENCE_S)
        assert event.done(), f"it hangs: {kind}"
        if kind.outcomes:
            assert event.result() in kind.outcomes, (event.result(), kind)
        else:
            assert event.cancelled(), kind

    async def _event(self, kind: Kind) -> EventOutcome:
        """As DispatchApp runs one, without the sockets."""
        tree = self.tree
        permit = tree.admission.try_admit("tenant")
        assert permit is not None, "the load is below every limit of admission"
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
        visitor = Visitor()
        loop = asyncio.get_running_loop()
        leaves = None if kind.leaves_s is None else loop.call_later(kind.leaves_s, visitor.leave)
        body = kind.body()
        incoming = request("GET" if body is None else "POST", kind.path, body=body)
        try:
            ending = await kind.worker.fetch(incoming, kind.responder(), whose, {}, None, visitor)
        finally:
            assert visitor.on_leave is None
            if leaves is not None:
                leaves.cancel()
            if tree.runner.has_tree(permit):
                await tree.runner.wait_for_tree(permit)
            permit.release()
        assert not isinstance(body, Chunks) or body.closed, kind
        return ending.outcome

    async def run_all(self, numbers: range) -> None:
        left = iter(numbers)

        async def lane() -> None:
            for number in left:
                await self.run(number)

        await asyncio.gather(*(lane() for _ in range(AT_ONCE)))

    def measure(self) -> dict[str, int]:
        """What is left when nothing runs. RSS in bytes."""
        admission = self.tree.admission
        assert live_guests() == 0
        assert len(self.tree.guests.host.running) == 0
        assert (admission.running, admission.suspended, admission.slots) == (0, 0, 0)
        assert not self.tree.runner._tasks
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert len(tasks) == 1, tasks  # the sweeper
        gc.collect()
        return {
            "rss": int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE"),
            "descriptors": len(os.listdir("/proc/self/fd")),
            "maps": len(Path("/proc/self/maps").read_text().splitlines()),
        }


async def judge(load: Load, events: int) -> None:
    """All events; what the second half of them left behind.

    What an event leaves is left by each half, however many there are; what a busy machine happened to have at once, by
    one. So a half that left something is followed by others, and only one that leaves nothing is enough.
    """
    half = events // 2
    await load.run_all(range(half))
    await load.use_every_slot()
    before = load.measure()
    for number in range(1, 1 + HALVES):
        await load.run_all(range(number * half, (number + 1) * half))
        await load.use_every_slot()
        after = load.measure()
        print(before, after, dict(load.observer.outcomes))
        grown = what_grew(before, after)
        if not grown:
            break
        before = after
    assert not grown, f"each of {HALVES} times {half} events left some: {grown}"
    load.tree.guests.close()


def what_grew(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    return {
        name: after[name] - before[name]
        for name, most in ALLOWED.items()
        if after[name] - before[name] > most
    }


def use_few_slots() -> None:
    """Of the engine that this process will have."""
    support.engine = functools.cache(lambda: start_engine(EngineSettings(slots=SLOTS)))


async def main(events: int) -> None:
    use_few_slots()
    await judge(Load(Tree()), events)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
