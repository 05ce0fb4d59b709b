"""A due time runs once, on one of the machines; what failed, what was missed and what was refused is in the history."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from control.cron_runner import CronRunner, CronSettings, NotTaken, Ran
from model.cron import MINUTE_MS
from model.identity import ScriptName
from model.schedules import UNKNOWN, RunRecord
from model.scripts import ScriptRef
from storage.cron_protocol import CronStore
from storage.cron_store import SqliteCronStore
from storage.failures import StorageLost
from tests.control.support import Host, ok, script_path, worker_module

SETTINGS = CronSettings(poll_s=0.01, offers_s=(0.01, 0.01))


class Platform:
    """A host's schedules, a clock, and workers that note what they ran."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.now_ms = 0
        self.ran: list[tuple[str, Mapping[str, Any]]] = []
        self.began = asyncio.Event()
        self.answer: Callable[[], Ran] = lambda: Ran("ok", "", 7)
        self.hold = asyncio.Event()
        self.hold.set()
        self.missed = 0

    async def scheduled(self, name: str, *crons: str) -> ScriptRef:
        ok(await self.host.deploy(name, module=worker_module("scheduled")))
        ok(await self.host.api.put(script_path(name) + "/schedules", json=[{"cron": cron} for cron in crons]))
        ref = ScriptRef(None, ScriptName(name))
        self.now_ms = max(self.now_ms, max(s.created_at_ms for s in self.host.store.schedules.of_script(ref)))
        return ref

    def next_minute(self, minutes: int = 1) -> int:
        """Go to the next full minute, or one further on."""
        self.now_ms = (self.now_ms // MINUTE_MS + minutes) * MINUTE_MS
        return self.now_ms

    async def run_scheduled(self, ref: ScriptRef, event: Mapping[str, object]) -> Ran:
        self.ran.append((ref.script, event))
        self.began.set()
        await self.hold.wait()
        return self.answer()

    @asynccontextmanager
    async def machine(
        self, name: str = "a", store: CronStore | None = None, **settings: Any
    ) -> AsyncIterator[CronRunner]:
        runner = CronRunner(
            self.host.store,
            store or SqliteCronStore(self.host.cron_database, lambda: self.now_ms),
            self.run_scheduled,
            name,
            settings=SETTINGS,
            now_ms=lambda: self.now_ms,
            on_missed=self._count,
            **settings,
        )
        running = asyncio.create_task(runner.run())
        try:
            yield runner
        finally:
            await runner.stop(0.05)
            await running

    def _count(self, count: int) -> None:
        self.missed += count

    async def history(self, ref: ScriptRef, count: int) -> list[RunRecord]:
        """Once there are `count` runs that ended."""
        return await self.until(lambda runs: sum(run.end is not None for run in runs) >= count, ref)

    async def until(self, reached: Callable[[list[RunRecord]], bool], ref: ScriptRef) -> list[RunRecord]:
        async with asyncio.timeout(60):
            while True:
                runs = await self.host.cron.runs(ref, None, 100)
                if reached(runs):
                    return runs
                await asyncio.sleep(0.005)


async def turns(runner: CronRunner, count: int = 3) -> None:
    """Until the runner has looked at everything so often."""
    for _ in range(count):
        looked = asyncio.Event()
        follow = runner._follow

        async def note(follow: Any = follow, looked: asyncio.Event = looked) -> None:
            await follow()
            looked.set()

        runner._follow = note  # type: ignore[method-assign]
        async with asyncio.timeout(60):
            await looked.wait()
        runner._follow = follow  # type: ignore[method-assign]


async def test_a_due_run_is_told_its_time_and_kept(host: Host) -> None:
    platform = Platform(host)
    ref = await platform.scheduled("report", "* * * * *")
    async with platform.machine() as runner:
        await turns(runner)
        assert platform.ran == []
        due = platform.next_minute()
        (run,) = await platform.history(ref, 1)
        assert platform.ran == [
            ("report", {"cron": "* * * * *", "scheduled_time_ms": due, "late_ms": 0, "missed": 0})
        ]
        assert (run.due_ms, run.missed, run.machine) == (due, 0, "a")
        assert run.end is not None
        assert (run.end.outcome, run.end.cpu_us) == ("ok", 7)
        await turns(runner)
        platform.next_minute()
        await platform.history(ref, 2)
    assert len(platform.ran) == 2


async def test_machines_run_a_due_time_once(host: Host) -> None:
    platform = Platform(host)
    refs = [await platform.scheduled(f"s{n}", "* * * * *") for n in range(20)]
    async with platform.machine("a") as a, platform.machine("b") as b, platform.machine("c") as c:
        for runner in (a, b, c):
            await turns(runner)
        platform.next_minute()
        for ref in refs:
            await platform.history(ref, 1)
        for runner in (a, b, c):
            await turns(runner)
    assert sorted(name for name, _ in platform.ran) == sorted(ref.script for ref in refs)


async def test_after_downtime_the_latest_due_time_runs_once(host: Host) -> None:
    platform = Platform(host)
    ref = await platform.scheduled("report", "* * * * *")
    async with platform.machine():
        platform.next_minute()
        await platform.history(ref, 1)
    latest = platform.next_minute(10)
    platform.now_ms += 20_000
    async with platform.machine() as runner:
        newest, _ = await platform.history(ref, 2)
        await turns(runner)
    assert (newest.due_ms, newest.missed) == (latest, 9)
    assert platform.ran[1:] == [
        ("report", {"cron": "* * * * *", "scheduled_time_ms": latest, "late_ms": 20_000, "missed": 9})
    ]
    assert platform.missed == 9
    async with platform.machine() as runner:  # and not again by one that starts now
        await turns(runner)
    assert len(platform.ran) == 2


async def test_schedules_are_followed_as_they_change(host: Host) -> None:
    platform = Platform(host)
    ref = await platform.scheduled("report", "* * * * *")
    other = await platform.scheduled("other", "* * * * *")
    async with platform.machine() as runner:
        await turns(runner)
        ok(await host.api.put(script_path("report") + "/schedules", json=[]))
        ok(await host.api.delete(script_path("other")))
        late = await platform.scheduled("late", "* * * * *")
        await turns(runner)
        platform.next_minute()
        await platform.history(late, 1)
        await turns(runner)
    assert [name for name, _ in platform.ran] == ["late"]
    assert await host.cron.runs(ref, None, 10) == await host.cron.runs(other, None, 10) == []


async def test_what_no_worker_process_takes_is_offered_again_and_then_shed(host: Host) -> None:
    platform = Platform(host)
    ref = await platform.scheduled("report", "* * * * *")
    answers: list[Ran | NotTaken] = [NotTaken("starting"), Ran("ok"), *[NotTaken("full")] * 3]

    def answer() -> Ran:
        found = answers.pop(0)
        if isinstance(found, NotTaken):
            raise found
        return found

    platform.answer = answer
    async with platform.machine():
        platform.next_minute()
        (run,) = await platform.history(ref, 1)
        assert run.end is not None
        assert run.end.outcome == "ok"
        assert len(platform.ran) == 2
        platform.next_minute()
        run, _ = await platform.history(ref, 2)
        assert run.end is not None
        assert (run.end.outcome, run.end.error) == ("loadShed", "full")


async def test_a_bug_in_running_one_is_an_outcome(host: Host) -> None:
    platform = Platform(host)
    ref = await platform.scheduled("report", "* * * * *")

    def answer() -> Ran:
        raise RuntimeError("a bug")

    platform.answer = answer
    async with platform.machine():
        platform.next_minute()
        (run,) = await platform.history(ref, 1)
        assert run.end is not None
        assert run.end.outcome == "internalError"
        platform.answer = lambda: Ran("ok")
        platform.next_minute()
        await platform.history(ref, 2)


async def test_what_a_stopped_machine_left_open_is_unknown_and_not_run_again(host: Host) -> None:
    platform = Platform(host)
    ref = await platform.scheduled("report", "* * * * *")
    platform.hold.clear()
    async with platform.machine("a"):
        platform.next_minute()
        await asyncio.wait_for(platform.began.wait(), 60)
    async with platform.machine("b") as runner:  # another's is none of its business
        await turns(runner)
        (run,) = await platform.host.cron.runs(ref, None, 10)
        assert run.end is None
    async with platform.machine("a") as runner:
        (run,) = await platform.history(ref, 1)
        await turns(runner)
    assert run.end is not None
    assert run.end.outcome == UNKNOWN
    assert len(platform.ran) == 1


async def test_nothing_is_begun_while_the_host_drains(host: Host) -> None:
    platform = Platform(host)
    ref = await platform.scheduled("report", "* * * * *")
    draining = True
    async with platform.machine(may_begin=lambda: not draining) as runner:
        platform.next_minute()
        await turns(runner)
        assert runner.waiting == 1
        assert await host.cron.runs(ref, None, 10) == []
        draining = False
        await platform.history(ref, 1)
        assert runner.waiting == 0


class Away(SqliteCronStore):
    """Nothing can be asked of it."""

    asked = 0
    back = False

    async def abandon(self, machine: str | None) -> int:
        self.asked += 1
        if not self.back:
            raise StorageLost("the server is away")
        return await super().abandon(machine)


async def test_while_the_storage_is_away_it_is_asked_once_in_a_while_and_then_nothing_is_lost(
    host: Host,
) -> None:
    platform = Platform(host)
    ref = await platform.scheduled("report", "* * * * *")
    store = Away(host.cron_database, lambda: platform.now_ms)
    async with platform.machine(store=store) as runner:
        due = platform.next_minute()  # what is due already must not make it ask without a pause
        runner._index.replace(ref, host.store.schedules.of_script(ref), due - 2 * MINUTE_MS)
        loop = asyncio.get_running_loop()
        began, before = loop.time(), store.asked
        await turns_failed(store, 20)
        assert (store.asked - before) * SETTINGS.poll_s <= (loop.time() - began) * 1.5 + SETTINGS.poll_s * 2
        store.back = True
        (run,) = await platform.history(ref, 1)
    assert run.due_ms == due


async def turns_failed(store: Away, count: int) -> None:
    until = store.asked + count
    async with asyncio.timeout(60):
        while store.asked < until:  # noqa: ASYNC110 - the runner is not ours to hook
            await asyncio.sleep(0.002)


class Failing(SqliteCronStore):
    """Its disk fails so often."""

    failures = 3

    async def begin(self, *args: Any) -> Any:
        if self.failures:
            self.failures -= 1
            raise StorageLost("the disk is away")
        return await super().begin(*args)

    async def end(self, *args: Any) -> Any:
        if self.failures < 2:
            self.failures += 1
            raise StorageLost("the disk is away")
        return await super().end(*args)


async def test_a_storage_that_fails_costs_time_and_no_run(host: Host) -> None:
    platform = Platform(host)
    ref = await platform.scheduled("report", "* * * * *")
    store = Failing(host.cron_database, lambda: platform.now_ms)
    async with platform.machine(store=store):
        platform.next_minute()
        (run,) = await platform.history(ref, 1)
    assert run.end is not None
    assert run.end.outcome == "ok"
    assert len(platform.ran) == 1


async def test_the_sweep_forgets_scripts_that_are_gone(host: Host) -> None:
    platform = Platform(host)
    stays = await platform.scheduled("stays", "* * * * *", "0 0 * * *")
    gone = await platform.scheduled("gone", "* * * * *")
    async with platform.machine() as runner:
        platform.next_minute()
        await platform.history(stays, 1)
        await platform.history(gone, 1)
        ok(await host.api.delete(script_path("gone")))
        ok(await host.api.put(script_path("stays") + "/schedules", json=[{"cron": "0 0 * * *"}]))
        await runner.sweep()
        assert await host.cron.scripts(None, 10) == [stays]
        assert [run.cron for run in await host.cron.runs(stays, None, 10)] == ["* * * * *"]
        assert await host.cron.claimed() == {}
    platform.now_ms += 31 * 24 * 3600 * 1000  # now that nothing runs which would come due by that
    await runner.sweep()
    assert await host.cron.runs(stays, None, 10) == []
