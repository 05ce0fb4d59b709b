"""Where the time of one hello goes, by stage: `python -m benchmarks.stages`. For docs/performance.md.

The stages run one after the other in the order of a request, with a clock read between them, so that each
meets caches as cold as in a server; a loop over one stage alone shows half the time. Not in it: uvicorn and
the kernel's network (the raw side of `make bench ONLY=hello`), the coroutines around the stages, the route's
look-up (two dictionary reads).
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import MutableMapping
from statistics import median
from time import perf_counter_ns
from typing import Any

import uvloop

from dispatch.admission import Admission
from dispatch.received import receive_request
from dispatch.responses import AsgiResponder
from dispatch.trusted_proxies import TrustedProxies
from edge.door import Visitor
from model.capabilities import EventContext
from model.hostname import parse_host
from model.identity import new_ray_id
from model.outcome import EventOutcome
from observability.access_log import AccessLog, to_descriptor
from observability.metrics import Counters
from observability.observer import HostObserver
from runtime.abi.core_module import codec
from runtime.event import FetchEvent
from runtime.metering import Ending
from runtime.sandbox import Sandbox
from tests.support.guests import Guests, sample

_ROUNDS = 6_000
_HEADERS = [
    (b"host", b"hello.localhost"),
    (b"user-agent", b"tenantry-bench"),
    (b"accept", b"*/*"),
    (b"accept-encoding", b"gzip"),
]


async def measure(name: str) -> dict[str, float]:
    """Stage → median µs."""
    guests = Guests()
    guests.host.observer = HostObserver(
        Counters(), AccessLog(to_descriptor(os.open(os.devnull, os.O_WRONLY))), lambda _: True
    )
    worker = guests.worker(sample(name))
    await guests.fetch(worker)
    host, version = guests.host, worker.version
    loaded = host.pool.get(version.module_digest)
    assert loaded is not None
    admission, trusted, ok = Admission(), TrustedProxies(()), Ending(EventOutcome.OK)

    async def send(_message: MutableMapping[str, Any]) -> None:
        pass

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.disconnect"}

    spent: dict[str, list[int]] = {}
    clock = 0

    def mark(stage: str) -> None:
        nonlocal clock
        spent.setdefault(stage, []).append(perf_counter_ns() - clock)
        clock = perf_counter_ns()

    for _ in range(_ROUNDS):
        scope = {
            "method": "GET", "scheme": "http", "raw_path": b"/", "query_string": b"", "headers": _HEADERS,
            "client": ("127.0.0.1", 4711),
        }  # fmt: skip
        visitor = Visitor(parse_host(b"hello.localhost"))
        clock = perf_counter_ns()
        ray_id = new_ray_id()
        responder = AsgiResponder(send, "GET", ray_id, visitor)
        mark("ray id, responder")
        request = receive_request(scope, receive, ray_id, trusted)
        mark("receive")
        permit = admission.try_admit(version.tenant)
        assert permit is not None
        context = EventContext(
            version.account, version.ref.namespace, version.ref.script, version.version, version.tenant,
            version.tags, ray_id, 0, permit, {}, request.client.ip, 0,
        )  # fmt: skip
        mark("admission, context")
        encoded = codec.encode_request(request, worker.env.vars, {}, None)
        mark("encode")
        event = FetchEvent(worker, context, worker.fetch_limits, request, {}, responder, visitor)
        sandbox = event.sandbox = Sandbox(
            host.engine, host.lanes, worker.fetch_limits, context, worker.env, (), host.operations, responder,
            event._response_ended, False,
        )  # fmt: skip
        running = host.running.add(sandbox, event, event.started + 30)
        mark("event, store, session")
        guest = sandbox.guest
        guest.begin_instantiate(loaded.pre)
        guest.poll()
        guest.finish()
        mark("instantiate")
        guest.find_exports("fetch", needs_alloc=True)
        sandbox._has_memory = True
        mark("exports")
        guest.begin_call("alloc", len(encoded))
        guest.poll()
        guest.finish()
        pointer = guest.result_i32()
        guest.write(pointer, encoded)
        mark("alloc, copy in")
        guest.begin_call("handler", pointer, len(encoded))
        guest.poll()
        guest.finish()
        mark("handler")
        data = sandbox.read_result(guest.result_i64(), codec.RESPONSE_BYTES)
        response = codec.decode_response(data)
        mark("copy out, decode")
        await responder.send_whole(response.status, response.headers, response.body)
        sandbox.session.response_ended = True
        mark("check, respond")
        host.running.remove(running)
        await sandbox.close()
        mark("delete the store")
        event.report(ok)
        permit.release()
        mark("record, release")
    guests.close()
    return {stage: median(values) / 1000 for stage, values in spent.items()}


def main() -> int:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        stages = runner.run(measure("hello"))
    for stage, spent_us in stages.items():
        print(f"{stage:24} {spent_us:6.1f} µs")
    print(f"{'sum':24} {sum(stages.values()):6.1f} µs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
