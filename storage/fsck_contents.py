"""Whether what is held for KV namespaces, queues and databases belongs to one that is there, and is counted right."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from model.clock import unix_ms
from storage.d1 import files
from storage.data_files import D1
from storage.fsck_findings import Finding, Repair, error, warning
from storage.sqlite_files import ReadOnlyFile, opened

#: A database's file is made before its record: a younger one may be under way.
_YOUNG_S: Final = 60.0
#: No lease is given for longer (Cloudflare's longest is 12 hours), and clocks agree to within minutes.
LONGEST_LEASE_MS: Final = 13 * 3600 * 1000
_LEASED_TOO_LONG: Final = (
    "SELECT queue_id, count(*) FROM queue_messages WHERE lease_id IS NOT NULL AND ready_at_ms > ?"
    " GROUP BY queue_id"
)
_KV_COUNTS: Final = (
    "SELECT namespace_id, count(*), sum(size) FROM kv_entries GROUP BY namespace_id"
    " EXCEPT SELECT namespace_id, keys, bytes FROM kv_usage",
    "SELECT namespace_id, keys, bytes FROM kv_usage"
    " EXCEPT SELECT namespace_id, count(*), sum(size) FROM kv_entries GROUP BY namespace_id",
)
_QUEUE_COUNTS: Final = (
    "SELECT queue_id, count(*), sum(length(body)), min(ready_at_ms) FROM queue_messages GROUP BY queue_id"
    " EXCEPT SELECT queue_id, messages, bytes, next_ready_at_ms FROM queue_heads",
    "SELECT queue_id, messages, bytes, next_ready_at_ms FROM queue_heads EXCEPT"
    " SELECT queue_id, count(*), sum(length(body)), min(ready_at_ms) FROM queue_messages GROUP BY queue_id",
)
#: What is kept for a queue, and in which table. (Leases end by themselves.)
_OF_QUEUES: Final = (("messages", "queue_heads"), ("settings", "queue_settings"))


def check_kv(data: Path, *, deep: bool) -> Iterator[Finding]:
    with opened(data / "kv.db") as file:
        held = {row[0] for row in file.read("SELECT namespace_id FROM kv_usage")}
        for namespace_id in sorted(
            _orphans(data, file, held, "kv", "kv_namespaces", "kv_usage", "namespace_id")
        ):
            what = f"keys of KV namespace {namespace_id}, which is not there"
            yield warning("orphans", what, Repair.ORPHAN_KV, namespace_id)
        # Each statement sees one moment; both together are asked for, so that who writes in between is not blamed.
        if deep:
            wrong = {row[0] for sql in _KV_COUNTS for row in file.read(sql)}
            for namespace_id in sorted(wrong):
                what = f"the keys of KV namespace {namespace_id} are counted wrong"
                yield error("counts", what, Repair.KV_USAGE, namespace_id)


def check_queues(data: Path, *, deep: bool) -> Iterator[Finding]:
    with opened(data / "queues.db") as file:
        for what, table in _OF_QUEUES:
            held = {row[0] for row in file.read(f"SELECT queue_id FROM {table}")}  # noqa: S608 - one of the two
            for queue_id in sorted(_orphans(data, file, held, "queue", "queues", table, "queue_id")):
                told = f"{what} of queue {queue_id}, which is not there"
                yield warning("orphans", told, Repair.ORPHAN_QUEUE, queue_id)
        for queue_id, count in file.read(_LEASED_TOO_LONG, (unix_ms() + LONGEST_LEASE_MS,)):
            what = f"{count} messages of queue {queue_id} are lent for longer than any lease is"
            yield error("leases", what, Repair.LEASES, queue_id)
        if deep:
            for queue_id in sorted({row[0] for sql in _QUEUE_COUNTS for row in file.read(sql)}):
                what = f"the messages of queue {queue_id} are counted wrong, or wait though they are ready"
                yield error("counts", what, Repair.QUEUE_HEADS, queue_id)


def check_cron(data: Path) -> Iterator[Finding]:
    with opened(data / "cron.db") as file:
        held = {
            (row[0], row[1])
            for table in ("cron_claims", "cron_runs")
            for row in file.read(f"SELECT DISTINCT namespace, script FROM {table}")  # noqa: S608 - one of two tables
        }
    with opened(data / "control.db") as control:
        known = {(row[0], row[1]) for row in control.read("SELECT namespace, name FROM scripts")}
    for namespace, script in sorted(held - known):
        yield left_runs(namespace, script)


def left_runs(namespace: str, script: str) -> Finding:
    what = f"scheduled runs of {namespace or '-'}/{script}, which is not there: a host forgets them within the hour"
    return warning("orphans", what, Repair.CRON, f"{namespace}/{script}")


def check_databases(data: Path, *, deep: bool, shared: bool = False) -> Iterator[Finding]:
    """`shared`: of several machines, a database's file is on the one that uses it."""
    folder = data / D1
    held = files.held(folder) if folder.exists() else {}
    there = {each for each, paths in held.items() if folder / f"{each}.sqlite" in paths}
    # Looked at after the files: what was made in between is known, and what was deleted is looked at again.
    with opened(data / "control.db") as control:
        known = {row[0] for row in control.read("SELECT id FROM d1_databases")}
        leaving = {row[0] for row in control.read("SELECT id FROM pending_deletions WHERE kind = 'd1'")}
    for database_id in sorted(known - there):
        if not shared and not (folder / f"{database_id}.sqlite").exists():
            yield error("databases", f"database {database_id} has no file in {D1}/")
    for database_id in sorted(held.keys() - known - leaving):
        if time.time() - _oldest_s(held[database_id]) > _YOUNG_S:
            part = "the file" if database_id in there else "restore points"
            what = f"{part} of database {database_id}, which is not there"
            yield warning("orphans", what, Repair.ORPHAN_DATABASE, database_id)
    if deep:
        for database_id in sorted(known & there):
            try:
                with opened(folder / f"{database_id}.sqlite") as file:
                    problems = file.problems(thorough=False)
            except FileNotFoundError:
                continue
            for problem in problems:
                yield error("integrity", f"{D1}/{database_id}.sqlite: {problem}")


def _oldest_s(paths: Sequence[Path]) -> float:
    """Since when there is something of a database; now, when it is being removed."""
    try:
        return min(path.stat().st_mtime for path in paths)
    except FileNotFoundError:
        return time.time()


def _orphans(
    data: Path, file: ReadOnlyFile, held: set[str], kind: str, table: str, counted: str, column: str
) -> set[str]:
    """Ids that hold something and that control does not know, nor is about to empty. Looked at twice: a host that
    runs makes and deletes between two reads.
    """
    with opened(data / "control.db") as control:
        known = {row[0] for row in control.read(f"SELECT id FROM {table}")}  # noqa: S608 - one of two tables
        leaving = {row[0] for row in control.read("SELECT id FROM pending_deletions WHERE kind = ?", (kind,))}
    return {
        each
        for each in held - known - leaving
        if file.read(f"SELECT 1 FROM {counted} WHERE {column} = ?", (each,))  # noqa: S608 - one of two tables
    }
