"""Where the time of one hello goes, by stage: `python -m benchmarks.stages`. For docs/performance.md.

The stages run one after the other in the order of a request, with a clock read between them, so that each
meets caches as cold as in a server; a loop over one stage alone shows half the time. With the accelerator and with
ctypes alone in turns, a request each. Not in it: uvicorn and
the kernel's network (the raw side of `make bench ONLY=hello`), the coroutines around the stages, the route's
look-up (two dictionary reads).
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, MutableMapping
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
from runtime.capi.accelerator.loading import available
from runtime.fetch_event import FetchEvent
from runtime.instance_pool import LoadedModule
from runtime.metering import Ending
from runtime.sandbox import Sandbox
from runtime.worker import Worker
from tests.support.guests import Guests, engine, sample

_ROUNDS = 4_000
_WARM = 200
_OK = Ending(EventOutcome.OK)
_HEADERS = [
    (b"host", b"hello.localhost"),
    (b"user-agent", b"tenantry-bench"),
    (b"accept", b"*/*"),
    (b"accept-encoding", b"gzip"),
]


async def measure(name: str) -> dict[str, dict[str, float]]:
    """Driver → stage → median µs."""
    drivers = {"ctypes": False} if available() is not None else {"accelerator": True, "ctypes": False}
    sides = {}
    for driver, engine().accelerated in drivers.items():
        sides[driver] = await _Side.prepare(name)
    for number in range(_WARM + _ROUNDS):
        for driver, engine().accelerated in drivers.items():
            await sides[driver].one(keep=number >= _WARM)
    for side in sides.values():
        side.guests.close()
    return {
        driver: {stage: median(values) / 1000 for stage, values in side.spent.items()}
        for driver, side in sides.items()
    }


async def _send(_message: MutableMapping[str, Any]) -> None:
    pass


async def _receive() -> MutableMapping[str, Any]:
    return {"type": "http.disconnect"}


class _Side:
    """One driver, with a worker that was linked for it."""

    def __init__(self, guests: Guests, worker: Worker, loaded: LoadedModule) -> None:
        self.guests = guests
        self.worker = worker
        self.loaded = loaded
        self.admission = Admission()
        self.trusted = TrustedProxies(())
        self.spent: dict[str, list[int]] = {}

    @classmethod
    async def prepare(cls, name: str) -> _Side:
        guests = Guests()
        guests.host.observer = HostObserver(
            Counters(), AccessLog(to_descriptor(os.open(os.devnull, os.O_WRONLY))), lambda _: True
        )
        worker = guests.worker(sample(name))
        await guests.fetch(worker)
        loaded = guests.host.pool.get(worker.version.module_digest)
        assert loaded is not None
        return cls(guests, worker, loaded)

    async def one(self, *, keep: bool) -> None:
        """A request; its times are kept, or not."""
        host, worker, version = self.guests.host, self.worker, self.worker.version
        spent: list[tuple[str, int]] = []
        clock = 0

        def mark(stage: str) -> None:
            nonlocal clock
            spent.append((stage, perf_counter_ns() - clock))
            clock = perf_counter_ns()

        scope = {
            "method": "GET", "scheme": "http", "raw_path": b"/", "query_string": b"", "headers": _HEADERS,
            "client": ("127.0.0.1", 4711),
        }  # fmt: skip
        visitor = Visitor(parse_host(b"hello.localhost"))
        clock = perf_counter_ns()
        ray_id = new_ray_id()
        responder = AsgiResponder(_send, "GET", ray_id, visitor)
        mark("ray id, responder")
        request = receive_request(scope, _receive, ray_id, self.trusted)
        mark("receive")
        permit = self.admission.try_admit(version.tenant)
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
            event._response_ended, False, self.loaded.pre,
        )  # fmt: skip
        running = host.running.add(sandbox, event, event.started + 30)
        mark("event, store, session")
        if host.engine.accelerated:
            result = sandbox.begin(self.loaded.pre, "fetch", encoded, initialize=False)
            assert isinstance(result, int), "a hello needs one slice"
            mark("first slice: all of it")
        else:
            result = self._stage_by_stage(sandbox, encoded, mark)
        data = sandbox.read_result(result, codec.RESPONSE_BYTES)
        response = codec.decode_response(data)
        mark("copy out, decode")
        await responder.send_whole(response.status, response.headers, response.body)
        event.response_ended = True
        mark("check, respond")
        host.running.remove(running)
        await sandbox.close()
        mark("close, delete the store")
        event.report(_OK)
        permit.release()
        mark("record, release")
        if keep:
            for stage, spent_ns in spent:
                self.spent.setdefault(stage, []).append(spent_ns)

    def _stage_by_stage(self, sandbox: Sandbox, encoded: bytes, mark: Callable[[str], None]) -> int:
        """What Sandbox.run does of it when nothing has to be waited for."""
        guest = sandbox.guest
        guest.begin_instantiate(self.loaded.pre)
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
        return guest.result_i64()


def main() -> int:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        drivers = runner.run(measure("hello"))
    for driver, stages in drivers.items():
        print(f"with {driver}")
        for stage, spent_us in stages.items():
            print(f"  {stage:24} {spent_us:6.1f} µs")
        print(f"  {'sum':24} {sum(stages.values()):6.1f} µs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
