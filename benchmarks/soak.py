"""`make soak`: mixed load on a real host, with `kill -9` of a worker process every 20 s or so.

At the end: no request failed on a connection to a process that was not killed; every acknowledged message was
delivered and every acknowledged KV write is there; memory, descriptors and live sandboxes are flat.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks import proc
from benchmarks.host import NAMESPACE, BenchFailed, BenchHost, sample
from benchmarks.soak_load import Ledger, Visitors

FULL_S: Final = 600
KILL_EVERY_S: Final = 20.0
_SAMPLE_S: Final = 1.0
#: A message that a killed process held waits for the end of its lease (60 s) before it comes again.
_DELIVERED_WITHIN_S: Final = 100.0

#: How much the last quarter of the run may be above the third. Short runs still fill caches that are bounded.
MEMORY_BYTES: Final = 12 << 20
DESCRIPTORS: Final = 24


@dataclass(frozen=True, slots=True)
class Reading:
    at_s: float
    memory: int
    descriptors: int


class Watch:
    """Reads memory and descriptors of every process of the host, for as long as it lives."""

    def __init__(self, host: BenchHost) -> None:
        self._host = host
        self.readings: dict[int, list[Reading]] = {}
        self.names: dict[int, str] = {}

    async def run(self) -> None:
        started = time.monotonic()
        while True:
            for pid in (self._host.pid, *proc.children(self._host.pid)):
                try:
                    reading = Reading(time.monotonic() - started, proc.rss_bytes(pid), proc.descriptors(pid))
                except (FileNotFoundError, ProcessLookupError, IndexError):
                    continue  # it was killed just now
                module = next((part for part in proc.command(pid) if part.startswith("cli.")), "")
                if module:
                    self.names[pid] = f"{module.removeprefix('cli.')} {pid}"
                    self.readings.setdefault(pid, []).append(reading)
            await asyncio.sleep(_SAMPLE_S)

    def growth(self, seconds: float) -> Iterable[tuple[str, int, int]]:
        """Name, bytes and descriptors by which the last quarter's median is above the third's, for every
        process that lived through both.
        """
        for pid, readings in self.readings.items():
            third = [r for r in readings if seconds / 2 <= r.at_s < seconds * 3 / 4]
            last = [r for r in readings if seconds * 3 / 4 <= r.at_s < seconds]
            if readings[0].at_s > seconds / 2 or len(third) < 3 or len(last) < 3:
                continue
            yield (
                self.names[pid],
                int(median(r.memory for r in last) - median(r.memory for r in third)),
                int(median(r.descriptors for r in last) - median(r.descriptors for r in third)),
            )


async def kill_workers(host: BenchHost, ledger: Ledger, seconds: float, every_s: float) -> int:
    """Kill a worker every so often. In the second half it is always the youngest, so that the other one lives
    long enough for its memory to be judged.
    """
    kills = 0
    started = time.monotonic()
    while (now := time.monotonic() - started) + every_s < seconds:
        await asyncio.sleep(every_s)
        workers = host.process_ids("cli.worker_process")
        if len(workers) < 2:
            ledger.fail(f"only {len(workers)} worker processes run {every_s:.0f} s after a kill")
            continue
        victim = max(workers, key=_start_time) if now + every_s >= seconds / 2 else random.choice(workers)
        # Stopped first: what it has accepted is then just what /proc says.
        os.kill(victim, signal.SIGSTOP)
        ledger.killed.add(client_ports(victim, host.port))
        os.kill(victim, signal.SIGKILL)
        kills += 1
    return kills


def _start_time(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()[19])


def client_ports(pid: int, server_port: int) -> set[int]:
    """The other ends of the connections that this process has accepted."""
    inodes = set()
    for entry in os.scandir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(entry.path)
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    ports = set()
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        columns = line.split()
        if columns[9] in inodes and int(columns[1].split(":")[1], 16) == server_port:
            ports.add(int(columns[2].split(":")[1], 16))
    return ports


def deploy(host: BenchHost) -> str:
    """Everything that the visitors use; the id of the KV namespace in which delivered messages are kept."""
    host.deploy("hello", sample("hello"), "hello.localhost")
    host.deploy("echo", sample("echo"), "echo.localhost")
    host.deploy("hostile", sample("hostile"), "hostile.localhost", limits={"cpu_ms": 30})
    host.deploy("notes", sample("notes_zig"), "notes.localhost", kv={"NOTES": host.make_kv("notes", "notes")})
    counters = host.make_kv("counters", "counter")
    host.deploy("counter", sample("kv_counter"), "counter.localhost", kv={"COUNTER": counters})
    seen = host.make_kv("seen", "shop")
    queue = host.api.post(
        host.api.path("queues"), {"queue_name": "orders", "tenant": "shop", "namespace": NAMESPACE}
    )
    host.deploy(
        "producer", sample("queue_producer"), "producer.localhost", tenant="shop", queues={"QUEUE": "orders"}
    )
    host.deploy("billing", sample("queue_consumer"), "billing.localhost", tenant="shop", kv={"SEEN": seen})
    host.api.post(
        host.api.path("queues", str(queue["queue_id"]), "consumers"),
        {
            "type": "worker",
            "script_name": "billing",
            "dispatch_namespace": NAMESPACE,
            "settings": {"max_wait_time_ms": 200, "max_retries": 50},
        },
    )
    return seen


def delivered(host: BenchHost, seen: str) -> set[str]:
    """The bodies of all messages that the consumer has stored."""
    path = host.api.path("storage", "kv", "namespaces", seen)
    keys = [str(key["name"]) for key in host.api.cursor_pages(f"{path}/keys")]
    bodies: set[str] = set()
    for start in range(0, len(keys), 100):
        found = host.api.post(f"{path}/bulk/get", {"keys": keys[start : start + 100]})
        bodies.update(found["values"].values())
    return bodies


async def check_delivery(host: BenchHost, seen: str, ledger: Ledger) -> None:
    deadline = time.monotonic() + _DELIVERED_WITHIN_S
    missing = ledger.sent
    while missing and time.monotonic() < deadline:
        missing = ledger.sent - await asyncio.to_thread(delivered, host, seen)
        if missing:
            await asyncio.sleep(2)
    if missing:
        ledger.fail(f"{len(missing)} of {len(ledger.sent)} acknowledged messages were not delivered")


async def check_writes(host: BenchHost, ledger: Ledger) -> None:
    """Every key that was acknowledged, read through the workers again."""

    def read() -> None:
        keys = list(ledger.written)
        notes = next(
            str(row["id"])
            for row in host.api.pages(host.api.path("storage", "kv", "namespaces"))
            if row["title"] == "notes"
        )
        path = host.api.path("storage", "kv", "namespaces", notes, "bulk", "get")
        for start in range(0, len(keys), 100):
            some = keys[start : start + 100]
            values = host.api.post(path, {"keys": some})["values"]
            lost = [key for key in some if values.get(key) != ledger.written[key]]
            if lost:
                ledger.fail(f"acknowledged writes are lost: {lost[:5]}")

    await asyncio.to_thread(read)


async def check_handles(host: BenchHost, ledger: Ledger) -> None:
    """Nothing runs and nothing waits when nobody asks: a sandbox that is left over is a leak."""
    live: dict[str, float] = {}
    for _ in range(40):
        metrics = await asyncio.to_thread(host.metrics)
        live = {name: metrics.get(f"tenantry_{name}_events", 0) for name in ("running", "suspended")}
        if not any(live.values()):
            return
        await asyncio.sleep(0.5)
    ledger.fail(f"sandboxes are left when nobody asks: {live}")


async def soak(seconds: float) -> int:
    every_s = min(KILL_EVERY_S, seconds / 4)
    with BenchHost(workers=2) as host:
        seen = deploy(host)
        ledger, watch = Ledger(), Watch(host)
        watching = asyncio.create_task(watch.run())
        killing = asyncio.create_task(kill_workers(host, ledger, seconds, every_s))
        await Visitors(host.port, ledger).run(seconds)
        kills = await killing
        watching.cancel()
        await check_handles(host, ledger)
        await check_writes(host, ledger)
        await check_delivery(host, seen, ledger)
        rows = list(watch.growth(seconds))
        for name, memory, descriptors in rows:
            print(
                f"  {name}: memory {memory / 2**20:+.1f} MiB, descriptors {descriptors:+d} (last quarter on third)"
            )
            if memory > MEMORY_BYTES:
                ledger.fail(
                    f"{name}: memory grew by {memory >> 20} MiB; at most {MEMORY_BYTES >> 20} are right"
                )
            if descriptors > DESCRIPTORS:
                ledger.fail(f"{name}: {descriptors} more descriptors; at most {DESCRIPTORS} are right")
        if not any("worker" in name for name, _, _ in rows):
            ledger.fail("no worker process lived long enough for its memory to be judged")
        code = host.stop()
        if code != 0:
            ledger.fail(f"the host ended with {code} after SIGTERM")
    done = ", ".join(f"{name} {count:,}" for name, count in ledger.done.items())
    print(f"  {kills} workers killed; {ledger.cut} requests were cut off with them; {done}")
    print(f"  {len(ledger.sent):,} messages acknowledged, {len(ledger.written):,} KV writes acknowledged")
    if seconds < FULL_S:
        print(
            f"  left out by the time box of {seconds:.0f} s: {FULL_S - seconds:.0f} s of load and "
            f"{int(FULL_S / KILL_EVERY_S) - 1 - kills} kills; memory was judged over {seconds / 2:.0f} s, "
            f"not {FULL_S / 2:.0f}"
        )
    for failure in ledger.failures:
        print(f"  FAILED {failure}")
    return 1 if ledger.failures else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=float(FULL_S), help=f"of load; {FULL_S} is the whole"
    )
    seconds: float = parser.parse_args().seconds
    if seconds < 20:
        parser.error("--seconds: 20 or more, to kill a worker and to judge memory after it")
    print(f"{seconds:.0f} s of mixed load on two worker processes", flush=True)
    try:
        code = asyncio.run(soak(seconds))
    except BenchFailed as error:
        print(f"the soak could not run: {error}", file=sys.stderr)
        return 1
    print("the soak failed" if code else "the soak holds")
    return code


if __name__ == "__main__":
    sys.exit(main())
