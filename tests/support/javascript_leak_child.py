"""leak_child for JavaScript: events of many tenants, each with a delta of its own; about half fit into the pool.

`python -m tests.support.javascript_leak_child EVENTS TENANTS`. Raises, and so ends with 1, when anything grew.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from typing import Final

from bindings.memory import MemoryKvNamespace
from model.capabilities import OperationTable
from model.outcome import EventOutcome
from model.scripts import BindingKind
from runtime.worker import Worker
from tests.security.test_trees import Tree
from tests.support.javascript_guests import JavaScriptGuests
from tests.support.leak_child import MIB, Chunks, Kind, Load, Slow, judge, use_few_slots

#: Of a tenant below, whose delta is some 8 KiB; half of all tenants' fit at once.
_DELTA_BYTES: Final = 8 << 10

#: `NUMBER` makes tenants differ.
_SOURCE: Final = """
const table = Array.from({ length: 50 }, (_, i) => ({ i: i * NUMBER }));
let seen = 0;
class Own extends Error {}
const deep = () => deep() + 1;
const ways = {
  hello: () => new Response(`NUMBER ${++seen}`),
  throws: () => { throw new Own("NUMBER"); },
  rejects: async () => { await null; return Promise.reject(new Own("later")); },
  unanswered: () => new Promise(() => {}),
  recurses: () => { try { deep(); } catch (error) { return new Response(error.name); } },
  traps: () => new Response(JSON.parse("[".repeat(200_000)).length),
  spins: () => { for (;;); },
  hoards: () => { const all = []; for (;;) all.push(new Uint8Array(1 << 20).fill(1)); },
  sleeps: async () => { await scheduler.wait(60_000); return new Response(); },
  naps: async () => { await Promise.all([1, 2, 3].map((ms) => scheduler.wait(ms))); return new Response("slept"); },
  reads: async (request) => new Response(String((await request.arrayBuffer()).byteLength)),
  passes: (request) => new Response(request.body),
  squeezes: (request) => new Response(request.body.pipeThrough(new CompressionStream("gzip"))),
  large: () => new Response("x".repeat(3_000_000)),
  endless: () => new Response(new ReadableStream({ pull: (out) => out.enqueue(new Uint8Array(100_000)) })),
  halves: () => new Response(new ReadableStream({
    start: (out) => out.enqueue(new Uint8Array(10)),
    pull() { throw new Own("broken"); },
  })),
  keeps: async (request, env) => {
    await env.KV.put("k", "v".repeat(2_000));
    return new Response(await env.KV.get("k"));
  },
  digests: async () => new Response(await crypto.subtle.digest("SHA-256", new Uint8Array(50_000))),
  later: (request, env, ctx) => { ctx.waitUntil(scheduler.wait(1)); return new Response("now"); },
  runsOn: (request, env, ctx) => {
    ctx.waitUntil(scheduler.wait(5).then(() => env.KV.put("k", "v")));
    request.signal.onabort = () => ctx.waitUntil(scheduler.wait(1));
    return scheduler.wait(60_000);
  },
  lingers: (request, env, ctx) => { ctx.waitUntil(scheduler.wait(60_000)); return scheduler.wait(60_000); },
  drips: () => new Response(new ReadableStream({
    start: (out) => out.enqueue(new Uint8Array(10)),
    pull: () => scheduler.wait(60_000),
    cancel: () => scheduler.wait(1),
  })),
  logs: () => { for (let i = 0; i < 20; i++) console.log(table); return new Response(crypto.randomUUID()); },
};
export default { fetch: (request, env, ctx) => ways[new URL(request.url).pathname.slice(1)](request, env, ctx) };
"""


class JavaScriptLoad(Load):
    def __init__(self, tenants: int) -> None:
        guests: JavaScriptGuests

        def make_guests(operations: OperationTable) -> JavaScriptGuests:
            nonlocal guests
            guests = JavaScriptGuests(operations, tenants * _DELTA_BYTES // 2)
            return guests

        tree = Tree(make_guests=make_guests)
        bindings = {"KV": (BindingKind.KV_NAMESPACE, MemoryKvNamespace())}
        self._workers = [
            guests.deploy(_SOURCE.replace("NUMBER", str(number)), bindings=bindings)
            for number in range(tenants)
        ]
        super().__init__(tree)

    def make_kinds(self) -> list[Kind]:
        """Tenant after tenant; the kinds go round with each round of the tenants, so that all tenants have all."""
        kinds = [self._kinds(worker) for worker in self._workers]
        count = len(kinds[0])
        return [kinds[at % len(kinds)][(at + at // len(kinds)) % count] for at in range(len(kinds) * count)]

    def _kinds(self, worker: Worker) -> list[Kind]:
        ok, exception = (EventOutcome.OK,), (EventOutcome.EXCEPTION,)
        cpu, memory = (EventOutcome.EXCEEDED_CPU,), (EventOutcome.EXCEEDED_MEMORY,)
        left, wall = (EventOutcome.CANCELED,), (EventOutcome.EXCEEDED_WALL_TIME,)

        def limited(**limits: int) -> Worker:
            return Worker(worker.host, replace(worker.version, limits=limits), worker.env)

        usual = limited(cpu_ms=10_000)  # a busy machine takes its time
        spinner = limited(cpu_ms=2)
        return [
            *[Kind(usual, ok, "/hello")] * 6,
            Kind(usual, exception, "/throws"),
            Kind(usual, exception, "/rejects"),
            Kind(usual, exception, "/unanswered"),
            Kind(usual, ok, "/recurses"),
            Kind(usual, exception, "/traps"),
            Kind(spinner, cpu, "/spins"),
            Kind(usual, left, "/spins", leaves_s=0),
            Kind(usual, left, "/spins", leaves_s=0.008),
            Kind(usual, (), "/spins", cancelled_s=0.008),
            Kind(limited(memory_bytes=16 * MIB, cpu_ms=10_000), (*memory, *exception), "/hoards"),
            Kind(limited(memory_bytes=2 * MIB), exception, "/hello"),
            Kind(usual, left, "/sleeps", leaves_s=0.002),
            Kind(usual, (), "/sleeps", cancelled_s=0.002),
            Kind(limited(cpu_ms=10_000, wall_ms=20), wall, "/sleeps"),
            Kind(usual, ok, "/naps"),
            Kind(usual, ok, "/reads", lambda: Chunks(40)),
            Kind(usual, ok, "/reads", lambda: b"x" * 1_000_000),
            Kind(usual, left, "/reads", lambda: Chunks(None), leaves_s=0.003),
            Kind(usual, ok, "/passes", lambda: Chunks(10)),
            Kind(usual, (), "/passes", lambda: Chunks(None), cancelled_s=0.003),
            Kind(usual, ok, "/squeezes", lambda: Chunks(5)),
            Kind(usual, ok, "/large"),
            Kind(usual, left, "/endless", leaves_s=0.003, responder=Slow),
            Kind(usual, exception, "/halves"),
            Kind(usual, ok, "/keeps"),
            Kind(usual, ok, "/digests"),
            Kind(usual, ok, "/later"),
            Kind(usual, left, "/runsOn", leaves_s=0.005),
            Kind(usual, left, "/drips", leaves_s=0.005),
            Kind(limited(cpu_ms=10_000, background_ms=20), (*left, *wall), "/lingers", leaves_s=0.005),
            Kind(usual, ok, "/logs"),
        ]


async def main(events: int, tenants: int) -> None:
    use_few_slots()
    await judge(JavaScriptLoad(tenants), events)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
