"""The contract of QueueProducer, held by the public fake, by SQLite and by PostgreSQL alike: all or none, and a full
backlog refuses by name.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from bindings.memory import MemoryQueueProducer
from bindings.queues import StoredQueueProducer
from model.capabilities import QueueMessage, QueueProducer
from model.errors import OperationError, OperationErrorCode
from storage.database import Database
from storage.queue_store import QueueStore, queue_migrations
from tests.support.postgres_stores import PgMachine

Held = Callable[[], Awaitable[int]]


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def queue(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[QueueProducer, Held]]:
    """A producer whose backlog takes 100 bytes, and how many messages it holds."""
    if request.param == "memory":
        memory = MemoryQueueProducer(backlog_bytes=100)

        async def held() -> int:
            return len(memory.messages)

        yield memory, held
    elif request.param == "sqlite":
        database = Database.open(tmp_path / "queues.db", queue_migrations())
        store = QueueStore(database, backlog_bytes=100)

        async def held() -> int:
            return store.backlog("q").messages

        yield StoredQueueProducer(store, "q"), held
        database.close()
    else:
        queue_id = uuid.uuid4().hex
        async with PgMachine(request.getfixturevalue("stores_address"), backlog_bytes=100) as machine:

            async def held() -> int:
                return (await machine.queues.backlog(queue_id)).messages

            yield StoredQueueProducer(machine.queues, queue_id), held


async def test_everything_sent_is_held(queue: tuple[QueueProducer, Held]) -> None:
    producer, held = queue
    await producer.send([QueueMessage(b"1", "text"), QueueMessage(b"2", "json", 60)])
    await producer.send([QueueMessage(b"", "bytes")])
    assert await held() == 3


async def test_full_backlog_refuses_the_whole_batch(queue: tuple[QueueProducer, Held]) -> None:
    producer, held = queue
    await producer.send([QueueMessage(b"x" * 60, "bytes")])
    with pytest.raises(OperationError, match="Storage Limit Exceeded") as caught:
        await producer.send([QueueMessage(b"x", "bytes"), QueueMessage(b"x" * 40, "bytes")])
    assert caught.value.code is OperationErrorCode.LIMIT_EXCEEDED
    assert await held() == 1
    await producer.send([QueueMessage(b"x" * 40, "bytes")])  # exactly full
    assert await held() == 2
