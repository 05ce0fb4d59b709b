"""Machines of the release before go on over the schema of this one, and this one's over the next: nothing that they say
stops to hold, not even what a connection has prepared before.

`released/postgres/` has the statements of the release before, as that one had them. At a release they are replaced by a
copy of `storage/sql/postgres/*.sql`.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from model.capabilities import KvEntry, QueueMessage
from storage.migrations import Migration, load_queries
from storage.postgres.address import DatabaseAddress
from storage.postgres.connection import PgDatabase
from storage.postgres.schema import PLATFORM_STREAMS, POSTGRES_SQL, PgMigrations, oldest_code
from storage.queue_protocol import DeadLettering
from tests.support.postgres_stores import PgMachine

RELEASED = Path(__file__).parents[1] / "released" / "postgres"
#: Migrations that the release before had.
BEFORE = {"kv": 1, "queues": 1, "cron": 1, "replication": 1}
STATEMENTS = [(stream, name) for stream in BEFORE for name in load_queries(stream, RELEASED)]
TODAY = PgMigrations.load(*PLATFORM_STREAMS)
OLD = PgMigrations(tuple(step for step in TODAY.steps if step.number <= BEFORE.get(step.stream, 0)))
#: What a next release may do: a column, an index, and counts that triggers keep, whoever writes.
NEXT = PgMigrations(
    (
        *TODAY.steps,
        Migration(
            "kv",
            1 + max(step.number for step in TODAY.steps if step.stream == "kv"),
            """
            ALTER TABLE kv_entries ADD COLUMN note text NOT NULL DEFAULT '';
            CREATE INDEX kv_entries_note ON kv_entries (namespace_id, note);
            CREATE TABLE kv_counts (namespace_id text COLLATE "C" PRIMARY KEY, keys bigint NOT NULL);
            INSERT INTO kv_counts SELECT namespace_id, count(*) FROM kv_entries GROUP BY namespace_id;
            CREATE FUNCTION kv_count() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF TG_OP = 'INSERT' THEN
                    INSERT INTO kv_counts VALUES (NEW.namespace_id, 1)
                    ON CONFLICT (namespace_id) DO UPDATE SET keys = kv_counts.keys + 1;
                ELSE
                    UPDATE kv_counts SET keys = keys - 1 WHERE namespace_id = OLD.namespace_id;
                END IF;
                RETURN NULL;
            END
            $$;
            CREATE TRIGGER kv_entries_counted AFTER INSERT OR DELETE ON kv_entries FOR EACH ROW
                EXECUTE FUNCTION kv_count();
            """,
        ),
        Migration(
            "queues",
            1 + max(step.number for step in TODAY.steps if step.stream == "queues"),
            """
            ALTER TABLE queue_messages ADD COLUMN priority integer NOT NULL DEFAULT 0;
            ALTER TABLE queue_backlogs ADD COLUMN oldest_ms bigint;
            CREATE TABLE queue_groups (queue_id text COLLATE "C" PRIMARY KEY, name text NOT NULL);
            CREATE INDEX queue_messages_priority ON queue_messages (queue_id, priority);
            """,
        ),
    )
)


@pytest.fixture
async def database(database_address: DatabaseAddress) -> AsyncIterator[PgDatabase]:
    database = PgDatabase(database_address)
    yield database
    await database.close()


@asynccontextmanager
async def connected(address: DatabaseAddress) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(
        host=address.host, port=address.port, user=address.user, password=address.password,
        database=address.database,
    )  # fmt: skip
    try:
        yield connection
    finally:
        await connection.close()


async def test_a_statement_of_the_release_before_holds_on_todays_schema(
    database: PgDatabase, database_address: DatabaseAddress
) -> None:
    assert len(STATEMENTS) > 60
    await TODAY.apply(database)
    async with connected(database_address) as connection:
        for stream, name in STATEMENTS:
            try:
                await connection.prepare(load_queries(stream, RELEASED)[name])
            except asyncpg.PostgresError as error:
                pytest.fail(f"{stream}.{name} of the release before does not hold any more: {error}")


@pytest.mark.parametrize("step", TODAY.steps, ids=lambda step: f"{step.stream}-{step.number}")
def test_migrations_since_only_add(step: Migration) -> None:
    """Or say which code is too old for them: that one then refuses to start on it."""
    if step.number <= BEFORE.get(step.stream, 0) or oldest_code(step):
        return
    text = re.sub(r"--.*", "", step.sql)
    assert not re.search(r"\b(DROP|RENAME|ALTER COLUMN|TYPE)\b", text, re.IGNORECASE)
    for column in re.findall(r"ADD COLUMN ([^;]+)", text, re.IGNORECASE):
        assert "NOT NULL" not in column.upper() or "DEFAULT" in column.upper(), column


async def old_keys(connection: asyncpg.Connection, sql: Mapping[str, str], turn: int) -> None:
    """What a process of the release before does with a key."""
    namespace, key = f"old-{turn % 3}", b"key-%d" % turn
    async with connection.transaction():
        await connection.execute(sql["share_namespaces"], [1])
        assert await connection.fetch(sql["deleted_of"], [namespace]) == []
        await connection.execute(sql["put"], [namespace], [key], [None], ["{}"], [5], [b"value"], [None])
        await connection.execute(sql["log_changes"], [namespace], [key])
    (row,) = await connection.fetch(sql["get_each"], [namespace], [key], 0.0, 100)
    assert tuple(row) == (1, b"value", "{}", None)
    listed = await connection.fetch(sql["list"], namespace, b"key", b"key\xff", 0.0, True, 1000)
    assert key in [row[0] for row in listed]
    assert (await connection.fetchrow(sql["changes"], "0", 10)) is not None
    if turn % 2:
        await connection.execute(sql["delete"], [namespace], [key])
        assert await connection.fetch(sql["get"], namespace, key, 0.0) == []


async def old_messages(connection: asyncpg.Connection, sql: Mapping[str, str], turn: int) -> None:
    """… and with messages, from sending to settling."""
    queue, now, ends = f"old-{turn}", 1_000_000 + turn, 1_060_000
    async with connection.transaction():
        await connection.execute(sql["share_queues"], [2])
        assert len(await connection.fetch(sql["standings"], [queue])) == 1
        ids = [uuid.uuid4() for _ in range(3)]
        await connection.execute(
            sql["send"],
            ids,
            [queue] * 3,
            [now] * 3,
            [now + 10_000_000] * 3,
            [now] * 3,
            ["text"] * 3,
            [b"body"] * 3,
        )
    assert queue in [row[0] for row in await connection.fetch(sql["ready_queues"], now)]
    lease = uuid.uuid4()
    async with connection.transaction():
        taken = await connection.fetch(sql["lease"], queue, now, 3, lease, ends)
        assert sorted(row[1] for row in taken) == sorted(ids)
    await connection.execute(sql["add_tickets"], [ends + 1], [queue])
    await connection.execute(sql["renew"], lease, queue, ends + 1)
    async with connection.transaction():
        held = await connection.fetch(sql["of_lease"], lease, queue)
        await connection.execute(sql["remove"], [held[0][0]])
        await connection.execute(sql["retry"], [held[1][0]], [now])
        await connection.execute(sql["add_tickets"], [now], [queue])
        await connection.execute(sql["dead_letter"], [held[2][0]], f"{queue}-dead", now, ends, queue)
        await connection.execute(sql["add_tickets"], [now], [f"{queue}-dead"])
    (backlog,) = await connection.fetch(sql["backlogs"], [queue])
    assert tuple(backlog) == (queue, 1, 4)


Turn = Callable[[int], Awaitable[None]]


async def goes_on_while(turn: Turn, migrate: Callable[[], Awaitable[object]], turns: int = 20) -> None:
    """`turn` is done again and again before, while and after the steps are taken; the first failure ends it."""
    done = 0
    stop = asyncio.Event()

    async def work() -> None:
        nonlocal done
        while not stop.is_set():
            await turn(done)
            done += 1

    async def has_done(count: int) -> None:
        async with asyncio.timeout(60):
            while done < count and not working.done():  # noqa: ASYNC110 - what is waited for sets no event
                await asyncio.sleep(0.005)

    working = asyncio.create_task(work())
    await has_done(turns)
    await migrate()
    await has_done(done + turns)
    stop.set()
    await working


async def is_sound(database: PgDatabase) -> None:
    sql = load_queries("fsck", POSTGRES_SQL)
    assert await database.fetch(sql["queues_without_tickets"], 1_030_000) == []
    assert await database.fetch(sql["queues_counted_wrong"]) == []
    assert await database.fetch(sql["kv_wrong_sizes"]) == []


@pytest.mark.parametrize(("old", "new"), [(OLD, TODAY), (TODAY, NEXT)], ids=["today's", "a next one's"])
async def test_a_process_of_before_goes_on_while_and_after_steps_are_taken(
    database: PgDatabase, database_address: DatabaseAddress, old: PgMigrations, new: PgMigrations
) -> None:
    """On the connection that it had, with all that it had prepared there."""
    await old.apply(database)
    keys, messages = load_queries("kv", RELEASED), load_queries("queues", RELEASED)
    async with connected(database_address) as connection:

        async def turn(number: int) -> None:
            await old_keys(connection, keys, number)
            await old_messages(connection, messages, number)

        await goes_on_while(turn, lambda: new.apply(database))
    await is_sound(database)


async def test_todays_stores_go_on_while_and_after_the_next_releases_steps_are_taken(
    database: PgDatabase, database_address: DatabaseAddress
) -> None:
    await TODAY.apply(database)
    async with PgMachine(database_address) as machine:

        async def turn(number: int) -> None:
            name = f"key-{number}"
            await machine.kv.put("ours", name, KvEntry(b"v" * 10))
            assert await machine.kv.increment("ours", "count", 1) == number + 1
            assert await machine.kv.compare_and_swap("ours", name, b"v" * 10, KvEntry(b"w"))
            found = await machine.kv.get_many("ours", [name], 100)
            assert found[name].value == b"w"
            if number % 2:
                await machine.kv.delete("ours", name)
            await machine.queues.send("ours", [QueueMessage(b"m%d" % number, "text")])
            lease = await machine.queues.lease("ours", 10, 60_000)
            assert lease is not None
            await machine.queues.settle(lease, [each.id for each in lease.messages], {}, DeadLettering(3))

        await goes_on_while(turn, lambda: NEXT.apply(database))
        listed = await machine.kv.list("ours", "", 1000, None)
        assert (await machine.queues.backlog("ours")).messages == 0
    # What only the next release keeps is right for what this one wrote meanwhile.
    assert (await database.fetch("SELECT keys FROM kv_counts"))[0][0] == len(listed.keys)
    assert await TODAY.apply(database) == [], "and a host of this one may start on it"
    await is_sound(database)
