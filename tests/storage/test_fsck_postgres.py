"""What machines share is looked at where it is: each thing that can be lost or not fit together there is found, what
can be is put right, and nothing is found where nothing is wrong.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest

from model.capabilities import KvEntry, QueueMessage
from storage.d1 import files
from storage.d1.catalog import D1Catalog
from storage.failures import StorageLost
from storage.fsck_findings import Repair, Severity, warning
from storage.fsck_postgres import check_postgres
from storage.fsck_repair import Repairs
from storage.postgres.address import DatabaseAddress
from storage.postgres.connection import PgDatabase
from storage.postgres.kv_rows import INLINE_BYTES
from storage.postgres.schema import PLATFORM_STREAMS, PgMigrations
from tests.storage.d1.machines import Machine
from tests.support.member import ACCOUNT, Member


@pytest.fixture
async def member(tmp_path: Path, database_address: DatabaseAddress) -> AsyncIterator[Member]:
    """With a namespace that has a small value and a large one, a queue with a message, a SQL database with a page."""
    database = PgDatabase(database_address)
    await PgMigrations.load(*PLATFORM_STREAMS).apply(database)
    made = Member(tmp_path / "a", database_address)
    kv = await made.control.kv_namespaces.create("kv", ACCOUNT)
    await made.contents.kv.put(kv.id, "small", KvEntry(b"value"))
    await made.contents.kv.put(kv.id, "large", KvEntry(os.urandom(INLINE_BYTES + 1)))
    queue = await made.control.queues.create("queue", ACCOUNT)
    await made.contents.queues.send(queue.id, [QueueMessage(b"one", "text")])
    record = made.control.d1_databases.plan("book", ACCOUNT)
    await D1Catalog().create(database, record.id)
    await made.control.d1_databases.create(record)
    await made.sql(
        "UPDATE d1_databases SET pages = 1; INSERT INTO d1_pages SELECT id, 1, 1, 'x' FROM d1_databases"
    )
    await database.close()
    yield made
    await made.close()


async def test_nothing_is_found_where_all_is_well(member: Member) -> None:
    assert await member.check() == []
    assert await member.check(deep=False) == []


async def test_nothing_is_found_while_machines_work(
    member: Member, database_address: DatabaseAddress
) -> None:
    """Another one makes, fills and deletes; this one hears of it when it looks."""
    other = Member(member.folder.with_name("b"), database_address)
    stop = asyncio.Event()

    async def work() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            kv = await other.control.kv_namespaces.create(f"kv-{number}", ACCOUNT)
            await other.contents.kv.put(kv.id, "key", KvEntry(b"v"))
            queue = await other.control.queues.create(f"queue-{number}", ACCOUNT)
            await other.contents.queues.send(queue.id, [QueueMessage(b"m", "text")])
            await other.control.kv_namespaces.delete(kv.id, force=True)
            await other.contents.kv.delete_namespace(kv.id)
            await other.control.pending_deletions.forget("kv", kv.id)

    async def follow() -> None:
        while not stop.is_set():
            await member.control.database.write(lambda tx: None)

    beside = [asyncio.create_task(work()), asyncio.create_task(follow())]
    try:
        for _ in range(10):
            found = await member.check()
            assert [each for each in found if each.check != "deletions"] == []
    finally:
        stop.set()
        await asyncio.gather(*beside)
        await other.close()


#: What is done to the database → the rule that it breaks, a word of the finding, and how it is put right.
BROKEN: list[tuple[str, str, str, Repair | None]] = [
    ("UPDATE kv_entries SET namespace_id = 'nobody'", "orphans", "keys of KV", Repair.ORPHAN_KV),
    (
        "UPDATE queue_messages SET queue_id = 'nobody'",
        "orphans",
        "messages or settings of",
        Repair.ORPHAN_QUEUE,
    ),
    (
        "INSERT INTO queue_settings VALUES ('nobody', true, 0, 60)",
        "orphans",
        "settings of queue",
        Repair.ORPHAN_QUEUE,
    ),
    ("DELETE FROM queue_tickets", "tickets", "never looked for", Repair.QUEUE_TICKETS),
    (
        "UPDATE queue_messages SET lease_id = gen_random_uuid(), ready_at_ms = 99999999999999",
        "leases",
        "lent for longer",
        Repair.LEASES,
    ),
    ("UPDATE queue_backlogs SET bytes = bytes + 1", "counts", "counted wrong", Repair.QUEUE_HEADS),
    ("DELETE FROM queue_backlogs", "counts", "counted wrong", Repair.QUEUE_HEADS),
    ("INSERT INTO kv_chunks VALUES (gen_random_uuid(), 0, 'x')", "orphans", "pieces of 1", Repair.KV_PIECES),
    ("DELETE FROM kv_chunks WHERE number = 1", "values", "not whole", None),
    ("UPDATE kv_entries SET size = size + 1 WHERE value_id IS NULL", "values", "1 values", None),
    (
        "INSERT INTO kv_deleted_namespaces SELECT DISTINCT namespace_id FROM kv_entries",
        "orphans",
        "keys were deleted for good",
        None,
    ),
    (
        "INSERT INTO queue_deleted_queues SELECT DISTINCT queue_id FROM queue_messages",
        "orphans",
        "messages were deleted for good",
        None,
    ),
    (
        "INSERT INTO d1_databases (id, seq, tag, pages, made_at) VALUES ('nothing', 1, 0, 0, '2026-01-01')",
        "orphans",
        "content of database nothing",
        Repair.ORPHAN_SHARED_DATABASE,
    ),
    ("DELETE FROM d1_databases", "databases", "is not in PostgreSQL", None),
    ("DELETE FROM d1_pages", "databases", "lacks 1 of its pages", None),
    (
        "INSERT INTO cron_claims VALUES ('prod', 'gone', '* * * * *', 60000, 0)",
        "orphans",
        "scheduled runs of prod/gone",
        Repair.CRON,
    ),
    (
        "INSERT INTO cron_runs VALUES ('r', '', 'gone', '* * * * *', 1, 1, 0, 'm')",
        "runs",
        "1 scheduled runs",
        Repair.CRON_RUNS,
    ),
    ("UPDATE replication_platform SET id = 'other'", "platform", "and the database of other", None),
    ("DELETE FROM replication_platform", "platform", "no platform's", None),
    ("DELETE FROM replication_heads WHERE file = 'control'", "replication", "lost the log of control", None),
    ("UPDATE replication_heads SET seq = 0", "replication", "the log ends at 0", None),
    ("UPDATE replication_log SET chain = 'x' WHERE seq = 1", "replication", "entry 1 is damaged", None),
    ("DELETE FROM replication_log WHERE seq = 1", "replication", "lacks 1 of its entries", None),
    ("DELETE FROM replication_snapshots", "replication", "is not there", None),
    ("DELETE FROM replication_snapshot_chunks", "replication", "pieces", None),
    ("UPDATE replication_snapshot_chunks SET data = 'x'", "replication", "is damaged", None),
    ("INSERT INTO objects VALUES ('00', 1, 1, now())", "modules", "not whole", None),
    (
        "INSERT INTO objects VALUES ('00', 1, 1, now()); INSERT INTO object_chunks VALUES ('00', 0, 'x')",
        "modules",
        "other bytes",
        None,
    ),
    ("DELETE FROM schema_migrations WHERE stream = 'cron'", "schema", "lacks migration cron 1", None),
    (
        "INSERT INTO schema_migrations VALUES ('kv', 9999, 'x', 9999, now())",
        "schema",
        "upgrade this host",
        None,
    ),
]


@pytest.mark.parametrize(("statement", "rule", "word", "repair"), BROKEN, ids=[row[0][:60] for row in BROKEN])
async def test_what_does_not_fit_is_found_and_what_can_be_is_put_right(
    member: Member, statement: str, rule: str, word: str, repair: Repair | None
) -> None:
    await member.sql(statement)
    found = [each for each in await member.check() if each.check == rule and word in each.what]
    assert found, await member.check()
    assert {each.repair for each in found} == {repair}
    if repair is None:
        return
    repairs = Repairs(
        member.folder, lambda digest: None, member.contents, replication=member.replica("control")
    )
    try:
        for each in await member.check():
            await repairs.repair(each)
    finally:
        repairs.close()
    assert await member.check() == []


async def test_a_database_that_is_being_made_is_no_leftover(member: Member) -> None:
    await D1Catalog().create(member.database, str(uuid.uuid4()))
    assert await member.check() == []


async def test_the_content_of_a_database_that_no_record_leads_to_is_removed_with_its_pages(
    member: Member,
) -> None:
    """As a crash between the two leaves it, or a restored log."""
    (record,), _ = await member.control.d1_databases.page("", 10, 0)
    await member.control.d1_databases.delete(record.id, force=True)
    await member.control.pending_deletions.forget("d1", record.id)
    await member.sql("UPDATE d1_databases SET made_at = now() - interval '1 hour'")
    (finding,) = await member.check()
    assert (finding.severity, finding.subject) == (Severity.WARNING, record.id)
    repairs = Repairs(
        member.folder, lambda digest: None, member.contents, replication=member.replica("control")
    )
    await repairs.repair(finding)
    repairs.close()
    assert await member.check() == []
    assert (await member.database.fetch("SELECT count(*) FROM d1_pages"))[0][0] == 0


async def test_a_deletion_that_is_finished_by_the_repair_reaches_what_all_share(member: Member) -> None:
    (record,), _ = await member.control.d1_databases.page("", 10, 0)
    await member.control.d1_databases.delete(record.id, force=True)
    await member.sql("UPDATE d1_databases SET made_at = now() - interval '1 hour'")
    assert await member.check() == [], "it is about to be emptied"
    repairs = Repairs(
        member.folder, lambda digest: None, member.contents, replication=member.replica("control")
    )
    await repairs.repair(warning("deletions", "cut short", Repair.DELETIONS))
    repairs.close()
    assert await member.database.fetch("SELECT id FROM d1_databases") == []
    assert await member.check() == []


async def test_a_database_that_is_on_this_machine_alone_is_not_lost(member: Member) -> None:
    (record,), _ = await member.control.d1_databases.page("", 10, 0)
    (member.folder / "d1").mkdir()
    files.create(member.folder / "d1", record.id)
    await member.sql("DELETE FROM d1_databases")
    (finding,) = await member.check()
    assert (finding.check, finding.severity) == ("databases", Severity.WARNING)
    assert "start its host" in finding.what


async def test_every_page_that_a_database_has_is_there_whatever_was_done_to_it(
    member: Member, database_address: DatabaseAddress, tmp_path: Path
) -> None:
    record = member.control.d1_databases.plan("busy", ACCOUNT)
    machine = Machine(tmp_path, "m", database_address)
    try:
        machine.make(record.id)
        await member.control.d1_databases.create(record)
        fill = "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r LIMIT 600)"
        fill += " INSERT INTO {} SELECT zeroblob(5000) FROM r"
        await machine.run(record.id, "CREATE TABLE a (v)")
        await machine.run(record.id, fill.format("a"))
        assert await member.check() == []
        # Pages that a transaction takes and gives back, and that it takes again for something else.
        await machine.batch(
            record.id,
            [
                "CREATE TABLE b (v)",
                fill.format("b"),
                "DELETE FROM b",
                "DROP TABLE a",
                "CREATE INDEX i ON b (v)",
            ],
        )
        assert await member.check() == []
        await machine.batch(record.id, [fill.format("b"), "UPDATE b SET v = 1", "DROP TABLE b"])
        assert await member.check() == []
        pages = await member.database.fetch("SELECT pages FROM d1_databases WHERE id = $1", record.id)
        assert pages[0][0] > 1_000
    finally:
        await machine.close()


async def test_what_waited_unseen_is_delivered_after_the_repair(member: Member) -> None:
    (queue_id,) = {row[0] for row in await member.database.fetch("SELECT queue_id FROM queue_messages")}
    await member.sql("DELETE FROM queue_tickets")
    assert await member.contents.queues.ready_queues() == []
    await member.contents.count_messages(queue_id)
    assert [each.queue_id for each in await member.contents.queues.ready_queues()] == [queue_id]


async def test_a_module_that_a_script_needs_is_missed(member: Member) -> None:
    from storage.fsck_platform import check_modules

    found = [each async for each in check_modules(member.database, ["ab" * 32], deep=True)]
    assert [(each.check, each.severity) for each in found] == [("modules", Severity.ERROR)]


async def test_another_machine_s_root_key_opens_nothing_here(member: Member) -> None:
    (finding,) = await member.check(root_key_id="another")
    assert (finding.check, finding.severity) == ("platform", Severity.ERROR)
    assert "this machine's another" in finding.what


async def test_a_machine_that_is_behind_does_not_take_news_for_leftovers(
    member: Member, database_address: DatabaseAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.fsck_postgres.CATCH_UP_S", 0.2)
    other = Member(member.folder.with_name("b"), database_address)
    kv = await other.control.kv_namespaces.create("news", ACCOUNT)
    await other.contents.kv.put(kv.id, "key", KvEntry(b"v"))
    (finding,) = await member.check()
    assert (finding.check, finding.severity) == ("replication", Severity.WARNING)
    assert "lacks 1 of the platform's changes" in finding.what
    assert await other.check() == []
    await other.close()


async def test_a_replica_with_another_history_is_found(member: Member) -> None:
    connection = apsw.Connection(str(member.folder / "control.db"))
    connection.execute("UPDATE replication SET seq = seq - 1, chain = zeroblob(32)")
    connection.close()
    found = [each for each in await member.check() if each.severity is Severity.ERROR]
    assert [each.check for each in found] == ["replication"]
    assert "is another here than in the log" in found[0].what


async def test_a_database_that_does_not_answer_is_no_finding(member: Member) -> None:
    nobody = PgDatabase(DatabaseAddress("127.0.0.1", 1, "d", "u"))
    with pytest.raises(StorageLost):
        await check_postgres(nobody, member.folder, deep=True)
    await nobody.close()
