"""Whether what a platform of machines keeps in PostgreSQL is whole, and belongs to something that is there.

Other machines go on writing. So what is held is asked for first, then this machine has to have heard of all that was
changed until then, only then is looked what it knows, and then again at what is held: what somebody just made, or just
deleted, is not taken for a leftover.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from model.clock import monotonic_s, unix_ms
from storage.cron_protocol import LONGEST_RUN_MS
from storage.d1.lease_record import was_shared
from storage.data_files import D1
from storage.failures import SchemaMismatch
from storage.fsck_contents import LONGEST_LEASE_MS, left_runs
from storage.fsck_findings import Finding, Repair, error, warning
from storage.fsck_modules import modules_of
from storage.fsck_platform import check_modules, check_platform, replica_state
from storage.migrations import load_queries
from storage.postgres.connection import PgDatabase
from storage.postgres.schema import PLATFORM_STREAMS, POSTGRES_SQL, PgMigrations
from storage.sqlite_files import ReadOnlyFile, opened

#: A machine that runs hears of a change within a second; one that is stopped never does.
CATCH_UP_S: Final = 5.0
_LOOK_S: Final = 0.1
#: A database is made before its record, on a machine that may hang in between.
_UNDER_WAY_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class _Held:
    """Ids, and scripts as (namespace, name)."""

    kv: frozenset[str]
    queues: frozenset[str]
    kv_buried: frozenset[str]
    queues_buried: frozenset[str]
    cron: frozenset[tuple[str, str]]
    d1: frozenset[str]
    #: Of these, those that are too young to be leftovers.
    d1_young: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Known:
    """What control's records say. `leaving`: deleted, and about to be emptied."""

    kv: frozenset[str]
    queues: frozenset[str]
    d1: frozenset[str]
    leaving: frozenset[str]
    scripts: frozenset[tuple[str, str]]
    modules: frozenset[str]


async def check_postgres(
    database: PgDatabase,
    data: Path,
    *,
    deep: bool,
    root_key_id: str | None = None,
    in_bucket: bool = False,
) -> list[Finding]:
    """For a data folder that is a machine of the platform. `in_bucket`: modules are kept in one, not here.

    Raises StorageError: the database can't be asked.
    """
    found = [finding async for finding in _check_schema(database)]
    if found:
        return found  # what has another schema tells nothing of the rest
    found = [finding async for finding in check_platform(database, data, deep=deep, root_key_id=root_key_id)]
    if any(finding.check == "platform" for finding in found):
        return found
    held = await _held(database)
    if behind := await _behind(database, data):
        what = (
            f"this machine lacks {behind} of the platform's changes, so what belongs to nothing was not looked for:"
            " start it, or look on one that runs"
        )
        found.append(warning("replication", what))
    else:
        known = _known(data)
        again = await _held(database)
        found += _compare(held, known, again)
        found += [finding async for finding in _check_databases(database, data, known, again)]
        if not in_bucket:
            found += [finding async for finding in check_modules(database, known.modules, deep=deep)]
    found += [finding async for finding in _check_contents(database, deep=deep)]
    return found


async def _check_schema(database: PgDatabase) -> AsyncIterator[Finding]:
    try:
        for step in await PgMigrations.load(*PLATFORM_STREAMS).missing(database):
            what = (
                f"{database.address} lacks migration {step}: run `tenantry migrate`, or start the host once"
            )
            yield error("schema", what)
    except SchemaMismatch as problem:
        yield error("schema", f"{database.address}: {problem.message}")


async def _held(database: PgDatabase) -> _Held:
    sql = load_queries("fsck", POSTGRES_SQL)

    async def ids(name: str) -> frozenset[str]:
        return frozenset(row[0] for row in await database.fetch(sql[name]))

    cron = frozenset((row[0], row[1]) for row in await database.fetch(sql["cron_scripts"]))
    d1 = {row[0]: bool(row[1]) for row in await database.fetch(sql["d1_held"], _UNDER_WAY_S)}
    return _Held(
        await ids("kv_held"),
        await ids("queues_held"),
        await ids("kv_buried"),
        await ids("queues_buried"),
        cron,
        frozenset(d1),
        frozenset(database_id for database_id, is_old in d1.items() if not is_old),
    )


async def _behind(database: PgDatabase, data: Path) -> int:
    """How many of the changes that the log has by now are not here, after waiting for them a little."""
    heads = await database.fetch(load_queries("replication", POSTGRES_SQL)["head"], "control")
    head_seq = int(heads[0][1]) if heads else 0
    until = monotonic_s() + CATCH_UP_S
    with opened(data / "control.db") as control:
        while True:
            state = replica_state(control)
            behind = head_seq - (0 if state is None else state.seq)
            if behind <= 0 or monotonic_s() > until:
                return max(behind, 0)
            await asyncio.sleep(_LOOK_S)


def _known(data: Path) -> _Known:
    with opened(data / "control.db") as control:
        control.read("BEGIN")
        scripts = control.read("SELECT namespace, name FROM scripts")
        return _Known(
            _ids(control, "SELECT id FROM kv_namespaces"),
            _ids(control, "SELECT id FROM queues"),
            _ids(control, "SELECT id FROM d1_databases"),
            _ids(control, "SELECT id FROM pending_deletions"),
            frozenset((row[0], row[1]) for row in scripts),
            frozenset(modules_of(control)),
        )


def _ids(control: ReadOnlyFile, sql: str) -> frozenset[str]:
    return frozenset(str(row[0]) for row in control.read(sql))


def _compare(held: _Held, known: _Known, again: _Held) -> Iterator[Finding]:
    """Pure. What is held and not known is a leftover, if it is still held afterwards: who deletes forgets a resource
    when it is empty. What is known and was buried takes nothing any more.
    """
    for namespace_id in sorted((held.kv & again.kv) - known.kv - known.leaving):
        what = f"keys of KV namespace {namespace_id}, which is not there"
        yield warning("orphans", what, Repair.ORPHAN_KV, namespace_id)
    for queue_id in sorted((held.queues & again.queues) - known.queues - known.leaving):
        what = f"messages or settings of queue {queue_id}, which is not there"
        yield warning("orphans", what, Repair.ORPHAN_QUEUE, queue_id)
    for database_id in sorted((held.d1 & again.d1) - again.d1_young - known.d1 - known.leaving):
        what = f"the content of database {database_id}, which is not there"
        yield warning("orphans", what, Repair.ORPHAN_SHARED_DATABASE, database_id)
    for namespace_id in sorted(held.kv_buried & known.kv):
        yield error("orphans", f"KV namespace {namespace_id} is there, and its keys were deleted for good")
    for queue_id in sorted(held.queues_buried & known.queues):
        yield error("orphans", f"queue {queue_id} is there, and its messages were deleted for good")
    for namespace, script in sorted(held.cron - known.scripts):
        yield left_runs(namespace, script)


async def _check_databases(
    database: PgDatabase, data: Path, known: _Known, held: _Held
) -> AsyncIterator[Finding]:
    """Those that control knows, and that hold nothing. Who deletes one forgets its record first, of which this machine
    may hear later: it is asked again. What is only here so far, a start of the host brings along.
    """
    missing = known.d1 - held.d1
    if not missing or await _behind(database, data):
        return
    for database_id in sorted(missing & _known(data).d1):
        path = data / D1 / f"{database_id}.sqlite"
        if path.exists() and not was_shared(path.with_suffix(".lease")):
            what = f"database {database_id} is on this machine alone: start its host, which brings it along"
            yield warning("databases", what)
        else:
            yield error("databases", f"database {database_id} is not in PostgreSQL")


async def _check_contents(database: PgDatabase, *, deep: bool) -> AsyncIterator[Finding]:
    """What needs no word of control's."""
    sql = load_queries("fsck", POSTGRES_SQL)
    now = unix_ms()
    for queue_id, count in await database.fetch(sql["queues_without_tickets"], now):
        what = f"{count} messages of queue {queue_id} are never looked for, though they wait"
        yield error("tickets", what, Repair.QUEUE_TICKETS, queue_id)
    for queue_id, count in await database.fetch(sql["queues_leased_too_long"], now + LONGEST_LEASE_MS):
        what = f"{count} messages of queue {queue_id} are lent for longer than any lease is"
        yield error("leases", what, Repair.LEASES, queue_id)
    left_open = (await database.fetch(sql["cron_left_open"], now - 2 * LONGEST_RUN_MS))[0][0]
    if left_open:
        what = f"{left_open} scheduled runs were begun and not ended: a host ends them within the hour"
        yield warning("runs", what, Repair.CRON_RUNS)
    if not deep:
        return
    for queue_id, *_ in await database.fetch(sql["queues_counted_wrong"]):
        what = f"the messages of queue {queue_id} are counted wrong"
        yield error("counts", what, Repair.QUEUE_HEADS, queue_id)
    for namespace_id, count in await database.fetch(sql["kv_wrong_sizes"]):
        yield error("values", f"{count} values of KV namespace {namespace_id} are not whole")
    for database_id, count in await database.fetch(sql["d1_wrong_pages"]):
        yield error("databases", f"database {database_id} lacks {count} of its pages")
    values, size = (await database.fetch(sql["kv_lost_pieces"]))[0]
    if values:
        what = f"pieces of {values} values that no key has, {size} bytes"
        yield warning("orphans", what, Repair.KV_PIECES)
