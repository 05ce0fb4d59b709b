"""KV and queues, below the workers: durable writes in groups, by several processes, listings, time to a consumer, and
leases in PostgreSQL beside a queue library's.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final

from benchmarks.figures import Figure, from_ratios, percentile
from benchmarks.host import ROOT, BenchFailed
from benchmarks.peers import PeerMissing, procrastinate
from bindings.delivery_verdict import ALL_ACKNOWLEDGED, BatchVerdict, QueueBatch
from bindings.queue_delivery import QueueDelivery
from model.capabilities import KvEntry, QueueMessage
from model.identity import ScriptName
from model.queues import ConsumerRecord, ConsumerSettings
from model.scripts import ScriptRef
from storage.database import Database
from storage.kv_protocol import KvStorage
from storage.kv_store import KvStore, kv_migrations
from storage.queue_protocol import DeadLettering, QueueStorage
from storage.queue_store import QueueStore, queue_migrations
from tests.support.postgres import Cluster, migrate, programs
from tests.support.postgres_stores import PgMachine

_SLICES: Final = 9
_SLICE_S: Final = 0.5
_AT_ONCE: Final = 64
_VALUE: Final = KvEntry(b"v" * 100)
_MESSAGE: Final = QueueMessage(b"v" * 100, "bytes")
_KEYS: Final = 1_000_000
_PROCESSES: Final = 4
_ALONE: Final = DeadLettering(1000)


def group_commit() -> list[Figure]:
    """64 writers at once beside one after another, each write durable when it returns."""
    with tempfile.TemporaryDirectory(dir=ROOT / "build") as name:
        return asyncio.run(_group_commit(Path(name)))


async def _group_commit(folder: Path) -> list[Figure]:
    kv_database = Database.open(folder / "kv.db", kv_migrations())
    queue_database = Database.open(folder / "queues.db", queue_migrations())
    kv, queues = KvStore(kv_database), QueueStore(queue_database)
    number = 0

    async def put() -> None:
        nonlocal number
        number += 1
        await kv.put("n", f"k{number % 10_000}", _VALUE)

    async def send() -> None:
        await queues.send("q", [_MESSAGE])

    figures = []
    for work, what in ((put, "KV puts"), (send, "queue sends")):
        pairs = [(await _rate(work, _AT_ONCE), await _rate(work, 1)) for _ in range(_SLICES)]
        figures.append(
            from_ratios(
                f"durable {what} on SQLite, 64 at once",
                "one commit each",
                [many / one for many, one in pairs],
                5,
                at_least=True,
                note=f"{pairs[0][0]:,.0f} against {pairs[0][1]:,.0f} a second",
            )
        )
    kv_database.close()
    queue_database.close()
    return figures


async def _rate(work: Callable[[], Awaitable[None]], at_once: int) -> float:
    """A second, with `at_once` of them on their way."""
    until = time.monotonic() + _SLICE_S
    done = 0

    async def repeat() -> None:
        nonlocal done
        while time.monotonic() < until:
            await work()
            done += 1

    began = time.monotonic()
    await asyncio.gather(*(repeat() for _ in range(at_once)))
    return done / (time.monotonic() - began)


def writers() -> list[Figure]:
    """Four processes beside one, all with durable puts into one SQLite file."""
    rates: list[float] = []
    waits: list[float] = []
    shares: list[float] = []
    for _ in range(3):
        with tempfile.TemporaryDirectory(dir=ROOT / "build") as name:
            path = Path(name) / "kv.db"
            Database.open(path, kv_migrations()).close()
            (alone,) = _run_writers(path, 1)
            together = _run_writers(path, _PROCESSES)
        total = sum(each["puts"] for each in together)
        rates.append(total / alone["puts"])
        waits.append(max(each["worst_ms"] for each in together))
        shares.append(min(each["puts"] for each in together) / (total / _PROCESSES))
    return [
        from_ratios("durable KV puts of 4 processes", "of one", rates, 0.8, at_least=True),
        from_ratios("the longest wait of any of them", "250 ms", [w / 250 for w in waits], 1, at_least=False,
                    note=f"{max(waits):.0f} ms at the most"),
        from_ratios("the process with the fewest puts", "its fair share", shares, 0.5, at_least=True),
    ]  # fmt: skip


def _run_writers(path: Path, count: int) -> list[dict[str, float]]:
    start = time.time() + 2.0
    command = [sys.executable, "-m", "benchmarks.storage_writer", str(path), str(start)]
    children = [
        subprocess.Popen([*command, str(number)], stdout=subprocess.PIPE, cwd=ROOT) for number in range(count)
    ]
    found = []
    for child in children:
        out, _ = child.communicate(timeout=60)
        if child.returncode != 0:
            raise BenchFailed("a process that writes failed")
        found.append(json.loads(out))
    return found


def listing() -> list[Figure]:
    """A page of a prefix among a million keys, on both engines."""
    figures = []
    with tempfile.TemporaryDirectory(dir=ROOT / "build") as name:
        figures.append(asyncio.run(_list_sqlite(Path(name))))
    with _cluster() as cluster:
        figures.append(asyncio.run(_list_postgres(cluster)))
    return figures


async def _list_sqlite(folder: Path) -> Figure:
    database = Database.open(folder / "kv.db", kv_migrations())
    store = KvStore(database)
    for start in range(0, _KEYS, 10_000):
        await store.put_many("n", _entries(start))
    figure = await _list_times(store, "SQLite")
    database.close()
    return figure


async def _list_postgres(cluster: Cluster) -> Figure:
    address = cluster.new_database()
    await migrate(address)
    async with PgMachine(address) as machine:
        for start in range(0, _KEYS, 10_000):
            await machine.kv.put_many("n", _entries(start))
        return await _list_times(machine.kv, "PostgreSQL")


def _entries(start: int) -> list[tuple[str, KvEntry]]:
    return [(f"user:{number:07d}", KvEntry(b"v")) for number in range(start, start + 10_000)]


async def _list_times(store: KvStorage, engine: str) -> Figure:
    times: list[float] = []
    for number in range(200):
        began = time.perf_counter()
        page = await store.list("n", f"user:{number * 4999:07d}"[:-2], 1000, None)
        times.append((time.perf_counter() - began) * 1000)
        if len(page.keys) != 100:
            raise BenchFailed("a listing was wrong")
    return from_ratios(
        f"KV list of a prefix with 100 keys among 1,000,000, {engine}",
        "5 ms",
        [each / 5 for each in times],
        1,
        at_least=False,
        note=f"p50 {sorted(times)[100]:.2f} ms",
    )


def delivery() -> list[Figure]:
    """From the moment of a send until its consumer has it, on both engines; on PostgreSQL in another process's
    place: a store of its own, which hears of the send by notification.
    """
    figures = []
    with tempfile.TemporaryDirectory(dir=ROOT / "build") as name:
        database = Database.open(Path(name) / "queues.db", queue_migrations())
        store = QueueStore(database)
        figures.append(asyncio.run(_deliver(store, store, "SQLite")))
        database.close()
    with _cluster() as cluster:
        figures.append(asyncio.run(_deliver_postgres(cluster)))
    return figures


async def _deliver_postgres(cluster: Cluster) -> Figure:
    address = cluster.new_database()
    await migrate(address)
    async with PgMachine(address) as one, PgMachine(address) as other:
        return await _deliver(one.queues, other.queues, "PostgreSQL, by another process")


async def _deliver(sender: QueueStorage, consumer: QueueStorage, engine: str) -> Figure:
    arrived: asyncio.Queue[int] = asyncio.Queue()

    async def run_batch(record: ConsumerRecord, batch: QueueBatch) -> BatchVerdict:
        arrived.put_nowait(time.perf_counter_ns())
        return ALL_ACKNOWLEDGED

    record = ConsumerRecord("q", "q", ScriptRef(None, ScriptName("c")), ConsumerSettings(1, 0))
    deliverer = QueueDelivery(consumer, lambda: [record], run_batch)
    running = asyncio.create_task(deliverer.run())
    await asyncio.sleep(0.5)
    took: list[int] = []
    for _ in range(200):
        began = time.perf_counter_ns()
        await sender.send("q", [_MESSAGE])
        took.append(await arrived.get() - began)
        await asyncio.sleep(0.01)
    await deliverer.stop(5.0)
    await running
    return from_ratios(
        f"from a send to its consumer, {engine}",
        "20 ms",
        [each / 20e6 for each in took],
        1,
        at_least=False,
        note=f"p50 {percentile(took, 0.5) / 1e6:.1f} ms, p99 {percentile(took, 0.99) / 1e6:.1f} ms",
    )


def pops() -> list[Figure]:
    """One message or job after another, taken and done, by four consumers of one process."""
    packages = procrastinate()
    with _cluster() as cluster:
        return asyncio.run(_pops(cluster, packages))


async def _pops(cluster: Cluster, packages: Path) -> list[Figure]:
    address = cluster.new_database()
    await migrate(address)
    other = cluster.new_database()
    dsn = f"postgresql://{other.user}@{other.host}:{other.port}/{other.database}"
    ratios: list[float] = []
    note = ""
    async with PgMachine(address) as machine:

        async def pop() -> None:
            lease = await machine.queues.lease("q", 1, 60_000)
            if lease is None:
                raise BenchFailed("the queue ran dry")
            await machine.queues.settle(lease, [lease.messages[0].id], {}, _ALONE)

        for _ in range(5):
            for _ in range(60):
                await machine.queues.send("q", [_MESSAGE] * 100)
            ours = await _rate(pop, 4)
            await machine.queues.purge("q")
            theirs = await asyncio.to_thread(_peer_rate, packages, dsn, other.password or "")
            ratios.append(ours / theirs)
            note = f"{ours:,.0f} against {theirs:,.0f} a second"
    return [
        from_ratios("messages leased and settled in PostgreSQL", "procrastinate's fetch and finish", ratios, 1,
                    at_least=True, note=note)
    ]  # fmt: skip


def _peer_rate(packages: Path, dsn: str, password: str) -> float:
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "procrastinate_peer.py"), dsn, str(_SLICE_S)],
        env={"PYTHONPATH": str(packages), "PGPASSWORD": password, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if done.returncode != 0:
        raise BenchFailed(f"procrastinate failed: {done.stderr[-500:]}")
    return float(done.stdout)


@contextlib.contextmanager
def _cluster() -> Iterator[Cluster]:
    folder = programs()
    if folder is None:
        raise PeerMissing("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    cluster = Cluster(folder, shared_buffers="256MB")
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.remove()
