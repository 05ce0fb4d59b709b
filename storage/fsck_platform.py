"""Whether what makes machines one platform is whole in PostgreSQL, and fits this machine's replicas: the log of control
data and its snapshots, and the modules of all.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from storage.fsck_findings import Finding, error
from storage.migrations import load_queries
from storage.postgres.connection import PgDatabase
from storage.postgres.schema import POSTGRES_SQL
from storage.replication.entries import Head, LocalState, chain_after, differs
from storage.sqlite_files import ReadOnlyFile, opened

#: Name in the log → file of the data folder.
FILES: Final = (("control", "control.db"), ("tokens", "tokens.db"))
_PAGE: Final = 100


def replica_state(file: ReadOnlyFile) -> LocalState | None:
    """What a replica says of itself; None in a file that never was one. Steps passed over are left out."""
    if not file.has_table("replication"):
        return None
    rows: list[Any] = file.read("SELECT platform, joined, seq, chain FROM replication")
    return LocalState(rows[0][0], bool(rows[0][1]), rows[0][2], rows[0][3]) if rows else None


async def check_platform(
    database: PgDatabase, data: Path, *, deep: bool, root_key_id: str | None
) -> AsyncIterator[Finding]:
    """`root_key_id`: of the key that this machine has, when that is known."""
    sql = load_queries("replication", POSTGRES_SQL)
    # Replicas first: the log's end may then only be further.
    replicas: dict[str, LocalState | None] = {}
    for name, path in FILES:
        with opened(data / path) as file:
            replicas[name] = replica_state(file)
    found = await database.fetch(sql["platform"])
    if not found:
        yield error(
            "platform", f"{database.address} is no platform's: name the database that this folder is of"
        )
        return
    platform, of_key = found[0]
    for name, local in replicas.items():
        if local is not None and local.joined and local.platform != platform:
            what = f"{name}.db is of platform {local.platform}, and the database of {platform}"
            yield error("platform", what)
    if root_key_id is not None and of_key != root_key_id:
        what = f"the platform's root key is {of_key}, and this machine's {root_key_id}: no secret opens here"
        yield error("platform", what)
    heads = {row[0]: row for row in await database.fetch(load_queries("fsck", POSTGRES_SQL)["heads"])}
    for name, _ in FILES:
        if name not in heads:
            yield error("replication", f"the database has lost the log of {name}: restore it from its backup")
            continue
        async for finding in _check_log(database, replicas[name], heads[name], deep=deep):
            yield finding


async def check_modules(database: PgDatabase, wanted: Iterable[str], *, deep: bool) -> AsyncIterator[Finding]:
    """`wanted`: digests of the scripts' modules."""
    sql = load_queries("fsck", POSTGRES_SQL)
    for (digest,) in await database.fetch(sql["objects_missing"], sorted(set(wanted))):
        what = (
            f"a script has no module: {digest} is not in the database (of a bucket, name it with --objects)"
        )
        yield error("modules", what)
    incomplete = {row[0] for row in await database.fetch(sql["objects_incomplete"])}
    for digest in sorted(incomplete):
        yield error("modules", f"module {digest} is not whole in the database")
    after = ""
    while deep and (rows := await database.fetch(sql["objects_damaged"], after, _PAGE)):
        for digest, is_right in rows:
            if not is_right and digest not in incomplete:
                yield error("modules", f"module {digest} has other bytes in the database than its name says")
        after = rows[-1][0]


async def _check_log(
    database: PgDatabase, local: LocalState | None, row: Sequence[Any], *, deep: bool
) -> AsyncIterator[Finding]:
    file, founder, seq, chain, pruned, snapshot_seq, entries, pieces_missing = row
    head = Head(founder, seq, chain, pruned, snapshot_seq)
    why = await _is_other_history(database, file, local, head)
    if why:
        yield error("replication", f"{file}.db is not what the log says: {why}; a start loads it anew")
    if entries != seq - pruned:
        lost = seq - pruned - entries
        yield error("replication", f"the log of {file} lacks {lost} of its entries {pruned + 1} to {seq}")
    elif deep and (problem := await _broken_chain(database, file, head)):
        yield error("replication", f"the log of {file}: {problem}")
    if pieces_missing is None:
        yield error("replication", f"the snapshot of {file} at entry {snapshot_seq} is not there")
    elif pieces_missing:
        what = f"the snapshot of {file} at entry {snapshot_seq} lacks {pieces_missing} of its pieces"
        yield error("replication", what)
    elif deep and not await _is_sound(database, file, snapshot_seq):
        yield error("replication", f"the snapshot of {file} at entry {snapshot_seq} is damaged")


async def _is_other_history(database: PgDatabase, file: str, local: LocalState | None, head: Head) -> str:
    """Why what this machine has can't be a part of the log; "" when it may."""
    if local is None or not local.joined:
        return ""
    if local.seq >= head.seq:
        return differs(local, head)
    rows = await database.fetch(load_queries("fsck", POSTGRES_SQL)["log_chain"], file, local.seq)
    return f"entry {local.seq} is another here than in the log" if rows and rows[0][0] != local.chain else ""


async def _broken_chain(database: PgDatabase, file: str, head: Head) -> str:
    """Each entry vouches for all before it. What the oldest stands on is gone, unless it is the first of all."""
    sql = load_queries("fsck", POSTGRES_SQL)["log_page"]
    at, chain = head.pruned, bytes(32) if head.pruned == 0 else None
    while rows := await database.fetch(sql, file, at, head.seq, _PAGE):
        for seq, kind, payload, told in rows:
            if chain is not None and seq == at + 1 and chain_after(chain, kind, payload) != told:
                return f"entry {seq} is damaged"
            at, chain = seq, told
    return "its end is not what its head says" if chain not in (None, head.chain) and at == head.seq else ""


async def _is_sound(database: PgDatabase, file: str, seq: int) -> bool:
    """True, too, when a newer one has taken its place meanwhile."""
    sql = load_queries("fsck", POSTGRES_SQL)
    rows = await database.fetch(sql["snapshot"], file, seq)
    if not rows:
        return True
    chunks, sha256 = rows[0]
    digest = hashlib.sha256()
    for number in range(chunks):
        piece = await database.fetch(sql["snapshot_piece"], file, seq, number)
        if not piece:
            return not await database.fetch(sql["snapshot"], file, seq)
        digest.update(piece[0][0])
    return digest.digest() == bytes(sha256)
