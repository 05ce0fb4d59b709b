"""A process keeps to its share of the machine's memory: whoever holds the most pays, a neighbour does not."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from model.outcome import EventOutcome
from runtime import running as running_module
from runtime.memory_budget import (
    COUNTED_FROM_BYTES,
    NONE,
    Pressure,
    decide,
    expected_bytes,
    for_events,
    memory_limits,
    resident_bytes,
    share_bytes,
)
from runtime.running import RunningEvents
from tests.support.guests import Guests, request, sample

GIB = 1 << 30
MIB = 1 << 20


@pytest.mark.parametrize(
    ("resident", "held", "leaving", "expected"),
    [
        (799, {"a": 700}, 0, NONE),
        (800, {"a": 700}, 0, NONE),  # the edge belongs to the quiet side
        (801, {"a": 700, "b": 10}, 0, Pressure(frozenset({"a"}))),
        (950, {"a": 700, "b": 10}, 0, Pressure(frozenset({"a"}))),
        (951, {"a": 700, "b": 10}, 0, Pressure(frozenset({"a"}), 151)),
        (951, {"a": 700, "b": 36}, 0, Pressure(frozenset({"a"}), 151)),  # below a tenth of the average, 36.8
        (951, {"a": 700, "b": 37}, 0, Pressure(frozenset({"a", "b"}), 151)),
        (951, {"a": 400, "b": 400}, 0, Pressure(frozenset({"a", "b"}), 151)),  # equal: both
        (900, {"a": 100}, 0, Pressure(frozenset({"a"}))),  # just what is above the quiet side
        (900, {"a": 99}, 0, NONE),  # ending it would not help
        (951, {"a": 99}, 0, Pressure(unexplained=True)),
        (951, {}, 0, Pressure(unexplained=True)),  # nobody's guests hold it: there is nobody to end
        (951, {"a": 99}, 52, Pressure(frozenset({"a"}))),  # what is being deleted explains it, and is enough
        (1951, {"a": 700}, 1000, Pressure(frozenset({"a"}), 151)),
        (1950, {"a": 700}, 1000, Pressure(frozenset({"a"}))),
        (951, {}, 400, NONE),  # nobody runs; it is going
    ],
)
def test_who_pays(resident: int, held: dict[str, int], leaving: int, expected: Pressure) -> None:
    assert decide(resident, 1000, held, leaving) == expected


def test_a_share_is_of_the_lowest_limit_and_never_too_small_to_work() -> None:
    assert share_bytes(2, [16 * GIB, 8 * GIB]) == 3 * GIB
    assert share_bytes(1000, [8 * GIB]) == 256 << 20


@pytest.mark.parametrize(
    ("cgroup", "file"),
    [
        ("0::/app/one\n", "app/memory.max"),
        ("4:memory:/app/one\n0::/\n", "memory/app/memory.limit_in_bytes"),
    ],
)
def test_limits_of_the_machine_and_of_each_cgroup_above(tmp_path: Path, cgroup: str, file: str) -> None:
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal:       16777216 kB\nMemFree: 1 kB\n")
    (proc / "self" / "cgroup").write_text(cgroup)
    limit = cgroups / file
    limit.parent.mkdir(parents=True)
    limit.write_text(f"{2 * GIB}\n")
    (limit.parent / "one").mkdir()
    (limit.parent / "one" / limit.name).write_text("max\n")
    assert sorted(memory_limits(proc, cgroups)) == [2 * GIB, 16 * GIB]


def test_what_the_kernel_says_of_this_process() -> None:
    assert 10 << 20 < resident_bytes() < 64 * GIB
    assert min(memory_limits()) > 1 << 20


async def test_the_largest_event_is_ended_and_its_tenant_shed_until_it_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only the kernel's figure is made up: the guests are real, and hold real memory."""
    guests = Guests()
    told: list[frozenset[str]] = []
    guests.host.running.stop()
    guests.host.running = RunningEvents(50 << 20, told.append)
    small = guests.worker(sample("hostile"), name="small")
    large = guests.worker(sample("hostile"), name="large", limits={"cpu_ms": 5_000})
    waiting = [
        asyncio.create_task(guests.fetch(small, request(path="/wait?ms=400"))),
        asyncio.create_task(guests.fetch(large, request(path="/memory?mib=40&ms=60000"))),
    ]
    for _ in range(500):
        held = [running.sandbox.memory_estimate() for running in guests.host.running]
        if len(held) == 2 and max(held) >= 40 << 20:
            break
        await asyncio.sleep(0.01)
    monkeypatch.setattr(running_module, "resident_bytes", lambda: 48 << 20)
    guests.host.running.start()
    ending, _ = await waiting[1]
    assert ending.outcome is EventOutcome.EXCEEDED_MEMORY
    assert "share of the machine" in ending.message
    monkeypatch.setattr(running_module, "resident_bytes", lambda: 10 << 20)
    ending, response = await waiting[0]
    assert (ending.outcome, response.status) == (EventOutcome.OK, 200)
    assert told[0] == frozenset({"tenant"})
    assert told[-1] == frozenset()
    guests.close()


async def test_what_no_running_event_explains_is_told_and_ends_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    guests = Guests()
    told: list[int] = []
    guests.host.running.stop()
    guests.host.running = RunningEvents(1000 << 20, on_unexplained=told.append)
    monkeypatch.setattr(running_module, "resident_bytes", lambda: 960 << 20)
    guests.host.running.start()
    ending, response = await guests.fetch(guests.worker(sample("hostile")), request(path="/wait?ms=200"))
    assert (ending.outcome, response.status) == (EventOutcome.OK, 200)
    assert told[0] == 960 << 20
    guests.close()


def test_what_is_expected_is_the_peak_and_fades() -> None:
    assert expected_bytes(0, COUNTED_FROM_BYTES) == 0  # too little to be counted
    assert expected_bytes(0, 100 * MIB) == 100 * MIB
    assert expected_bytes(100 * MIB, 120 * MIB) == 120 * MIB
    expected, events = 128 * MIB, 0
    while expected:
        faded = expected_bytes(expected, 0)
        assert faded < expected
        expected, events = faded, events + 1
    assert 20 < events < 100


def test_events_have_what_is_below_the_quiet_edge_and_at_least_a_quarter() -> None:
    assert for_events(1_000 * MIB, 100 * MIB) == 700 * MIB
    assert for_events(1_000 * MIB, 900 * MIB) == 250 * MIB


async def test_a_worker_is_known_for_what_its_events_touched_not_for_what_they_reserved(
    guests: Guests,
) -> None:
    worker = guests.worker(sample("hostile"), limits={"cpu_ms": 10_000})
    ending, _ = await guests.fetch(worker, request(path="/memory?mib=40"))
    assert ending.outcome is EventOutcome.OK
    assert 40 * MIB <= worker.expected_bytes < 44 * MIB
    hello = guests.worker(sample("hello"))
    await guests.fetch(hello, request())
    assert hello.expected_bytes == 0
