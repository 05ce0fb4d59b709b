"""The contract of QueueProducer, held by the public fake and by SQLite alike: all or none, and a full
backlog refuses by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bindings.memory import MemoryQueueProducer
from bindings.queues import StoredQueueProducer
from model.capabilities import QueueMessage, QueueProducer
from model.errors import OperationError, OperationErrorCode
from storage.database import Database
from storage.queue_store import QueueStore, queue_migrations

Held = Callable[[], int]


@pytest.fixture(params=["memory", "sqlite"])
def queue(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[QueueProducer, Held]]:
    """A producer whose backlog takes 100 bytes, and how many messages it holds."""
    if request.param == "memory":
        memory = MemoryQueueProducer(backlog_bytes=100)
        yield memory, lambda: len(memory.messages)
        return
    database = Database.open(tmp_path / "queues.db", queue_migrations())
    store = QueueStore(database, backlog_bytes=100)
    yield StoredQueueProducer(store, "q"), lambda: store.backlog("q").messages
    database.close()


async def test_everything_sent_is_held(queue: tuple[QueueProducer, Held]) -> None:
    producer, held = queue
    await producer.send([QueueMessage(b"1", "text"), QueueMessage(b"2", "json", 60)])
    await producer.send([QueueMessage(b"", "bytes")])
    assert held() == 3


async def test_full_backlog_refuses_the_whole_batch(queue: tuple[QueueProducer, Held]) -> None:
    producer, held = queue
    await producer.send([QueueMessage(b"x" * 60, "bytes")])
    with pytest.raises(OperationError, match="Storage Limit Exceeded") as caught:
        await producer.send([QueueMessage(b"x", "bytes"), QueueMessage(b"x" * 40, "bytes")])
    assert caught.value.code is OperationErrorCode.LIMIT_EXCEEDED
    assert held() == 1
    await producer.send([QueueMessage(b"x" * 40, "bytes")])  # exactly full
    assert held() == 2
