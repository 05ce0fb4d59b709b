"""Workers that call each other by service bindings have one budget: what the first of them may use, all of them may
use together, however many they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import cast

import pytest

from bindings.dispatch_namespace import StoredDispatcher
from bindings.operations import OPERATIONS
from bindings.service import NamedService
from dispatch.admission import Admission
from dispatch.runner import TreeRunner
from dispatch.workers import Workers
from model.capabilities import Binding, EventContext, WorkerEnv
from model.identity import DEFAULT_ACCOUNT, NamespaceName, RayId, ScriptName, TenantId, VersionId
from model.outcome import EventOutcome
from model.scripts import ScriptRef, ScriptVersion
from runtime.capi.guest import live_guests
from runtime.worker import Worker
from tests.security.calling import call, caller
from tests.support.guests import Guests, Remembered, request, wat

REQUEST = {"url": "http://worker.example/"}
SPINNER = wat(
    """(module (memory (export "memory") 2)
      (func (export "alloc") (param i32) (result i32) (i32.const 1024))
      (func (export "fetch") (param i32 i32) (result i64) (loop $again (br $again)) (i64.const 0)))"""
)


class Platform:
    """Workers by name. Each is lent each name as a service, and `customers`, where all of them are too."""

    def __init__(self) -> None:
        self.runner = TreeRunner()
        self.admission = Admission()
        self.guests = Guests(OPERATIONS)
        self.workers: dict[str, Worker] = {}
        self.runner.use(cast(Workers, self))

    def get(self, ref: ScriptRef) -> Worker | None:
        return self.workers.get(ref.script)

    def _version(self, ref: ScriptRef) -> ScriptVersion | None:
        worker = self.get(ref)
        return None if worker is None else worker.version

    def deploy(self, name: str, wasm: bytes, *services: str, **limits: int) -> None:
        bindings = {
            service: Binding(
                "service",
                NamedService(self.runner, self._version, DEFAULT_ACCOUNT, None, ScriptName(service)),
            )
            for service in services
        }
        customers = StoredDispatcher(self.runner, self._version, DEFAULT_ACCOUNT, NamespaceName("customers"))
        bindings["customers"] = Binding("dispatch_namespace", customers)
        self.workers[name] = self.guests.worker(
            wasm, name=name, env=WorkerEnv(bindings=bindings), limits=limits
        )

    async def visit(self, name: str, limits: Mapping[str, int] | None = None) -> EventOutcome:
        """One request as DispatchApp makes it, until all that came of it has ended."""
        permit = self.admission.try_admit("tenant")
        assert permit is not None
        context = EventContext(
            DEFAULT_ACCOUNT,
            None,
            ScriptName(name),
            VersionId("v1"),
            TenantId("tenant"),
            (),
            RayId("ray"),
            0,
            permit,
        )
        try:
            ending = await self.workers[name].fetch(request(), Remembered(), context, {}, limits)
        finally:
            if self.runner.has_tree(permit):
                await self.runner.wait_for_tree(permit)
            permit.release()
        return ending.outcome

    def cpu_ms(self) -> float:
        return sum(record.cpu_us for record in self.guests.observer.records) / 1000

    def outcomes(self, script: str) -> list[EventOutcome]:
        return [record.outcome for record in self.guests.observer.records if record.script == script]


@pytest.fixture
async def platform() -> AsyncIterator[Platform]:
    made = Platform()
    yield made
    made.guests.close()
    assert live_guests() == 0
    assert (made.admission.running, made.admission.slots) == (0, 0)


def calls(service: str, times: int = 1, *, at_once: bool = False) -> list[Mapping[str, object]]:
    ops = [[number, "service.fetch", service, REQUEST] for number in range(1, times + 1)]
    return [call(*ops)] if at_once else [call(op) for op in ops]


async def test_a_called_worker_spends_the_cpu_time_of_its_caller(platform: Platform) -> None:
    platform.deploy("first", caller(*calls("spinner")), "spinner", cpu_ms=40)
    platform.deploy("spinner", SPINNER, cpu_ms=2_000)
    await platform.visit("first")
    (spinner,) = (record for record in platform.guests.observer.records if record.script == "spinner")
    assert spinner.outcome is EventOutcome.EXCEEDED_CPU
    assert "together" in spinner.error
    assert "40 ms" in spinner.error
    assert 35 < platform.cpu_ms() < 200


async def test_when_it_is_used_up_nobody_is_called_any_more(platform: Platform) -> None:
    platform.deploy("first", caller(*calls("spinner", 20)), "spinner", cpu_ms=40)
    platform.deploy("spinner", SPINNER, cpu_ms=2_000)
    await platform.visit("first")
    assert len(platform.outcomes("spinner")) == 1
    assert platform.cpu_ms() < 200


async def test_many_at_once_have_no_more_than_one(platform: Platform) -> None:
    platform.deploy("first", caller(*calls("spinner", 32, at_once=True)), "spinner", cpu_ms=100)
    platform.deploy("spinner", SPINNER, cpu_ms=100)
    async with asyncio.timeout(60):
        await platform.visit("first")
    assert platform.outcomes("spinner") == [EventOutcome.EXCEEDED_CPU] * 32
    # Each for itself would have been 3,200. What is beyond: what runs between two looks, and a last tick of each.
    assert platform.cpu_ms() < 800


async def test_a_called_workers_own_limit_holds_besides(platform: Platform) -> None:
    platform.deploy("first", caller(*calls("spinner")), "spinner", cpu_ms=2_000)
    platform.deploy("spinner", SPINNER, cpu_ms=30)
    assert await platform.visit("first") is EventOutcome.OK
    (message,) = (r.error for r in platform.guests.observer.records if r.script == "spinner")
    assert "the limit is 30 ms" in message
    assert platform.cpu_ms() < 200


async def test_what_a_dispatcher_gives_a_call_is_for_all_below_it(platform: Platform) -> None:
    options = {"limits": {"cpu_ms": 20}}
    platform.deploy(
        "dispatcher",
        caller(call([1, "dispatch.fetch", "customers", "first", REQUEST, options])),
        cpu_ms=2_000,
    )
    platform.deploy("first", caller(*calls("spinner")), "spinner", cpu_ms=2_000)
    platform.deploy("spinner", SPINNER, cpu_ms=2_000)
    assert await platform.visit("dispatcher") is EventOutcome.OK
    assert platform.outcomes("spinner") == [EventOutcome.EXCEEDED_CPU]
    assert platform.cpu_ms() < 200


@pytest.mark.parametrize("at_once", [False, True])
async def test_subrequests_are_counted_together(platform: Platform, at_once: bool) -> None:
    """A worker that calls itself twice, and so on: 2 ** 16 events, were each counted for itself."""
    platform.deploy(
        "again", caller(*calls("again", 2, at_once=at_once)), "again", subrequests=6, cpu_ms=5_000
    )
    assert await platform.visit("again") is EventOutcome.OK
    assert len(platform.outcomes("again")) == 1 + 6


async def test_what_was_used_before_the_first_call_counts(platform: Platform) -> None:
    before = call([9, "service.fetch", "nobody", REQUEST])
    platform.deploy("first", caller(before, *calls("leaf", 3)), "leaf", "nobody", subrequests=3)
    platform.deploy("leaf", caller())
    assert await platform.visit("first") is EventOutcome.OK
    assert len(platform.outcomes("leaf")) == 2


async def test_a_dispatched_worker_has_its_own(platform: Platform) -> None:
    dispatched = call([1, "dispatch.fetch", "customers", "first", REQUEST])
    platform.deploy("dispatcher", caller(dispatched), subrequests=1)
    platform.deploy("first", caller(*calls("leaf", 3)), "leaf", subrequests=3)
    platform.deploy("leaf", caller())
    assert await platform.visit("dispatcher") is EventOutcome.OK
    assert len(platform.outcomes("leaf")) == 3


async def test_no_called_worker_goes_on_for_longer_than_the_first_may(platform: Platform) -> None:
    """In the background, after the response: there a chain of workers could have 30 s for each of them."""
    goes_on = [
        call([1, "response.start", None, 200, []], [2, "response.end", None]),
        call([3, "sleep", None, 60_000]),
    ]
    platform.deploy("first", caller(*calls("leaf")), "leaf", wall_ms=1_000, background_ms=1_000)
    platform.deploy("leaf", caller(*goes_on, answers=False))
    async with asyncio.timeout(60):
        assert await platform.visit("first") is EventOutcome.OK
    assert platform.outcomes("leaf") == [EventOutcome.EXCEEDED_WALL_TIME]
