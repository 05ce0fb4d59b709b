"""What a guest may send to a queue: each limit at both edges; a batch is checked whole before any is sent;
and what is delivered is the value that was sent.
"""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from bindings.memory import MemoryEvent, MemoryQueueProducer
from bindings.operations import OPERATIONS
from bindings.queue_memory import MemoryQueueStorage
from bindings.queues import StoredQueueProducer, body_value
from model.capabilities import QueueMessage
from model.errors import OperationError, OperationErrorCode
from model.queues import QueueSettingsChange

INVALID = OperationErrorCode.INVALID_ARGUMENT
LIMIT = OperationErrorCode.LIMIT_EXCEEDED


@pytest.fixture
def queue() -> MemoryQueueProducer:
    return MemoryQueueProducer()


async def call(queue: MemoryQueueProducer, name: str, *args: object) -> None:
    result = OPERATIONS[f"queue.{name}"].run(MemoryEvent(), queue, args)
    assert inspect.isawaitable(result)
    assert await result is None


@pytest.mark.parametrize(
    ("body", "content_type", "stored"),
    [
        ({"a": [1, "ä", None]}, None, '{"a":[1,"ä",null]}'.encode()),
        (None, "json", b"null"),
        ("text", "json", b'"text"'),
        ("text ä", "text", "text ä".encode()),
        (b"\x00\xff", "bytes", b"\x00\xff"),
    ],
)
async def test_body_comes_to_the_consumer_as_it_was_sent(
    queue: MemoryQueueProducer, body: object, content_type: str | None, stored: bytes
) -> None:
    await call(queue, "send", body, {"content_type": content_type, "delay_seconds": 5})
    assert queue.messages == [QueueMessage(stored, content_type or "json", 5)]
    assert body_value(queue.messages[0].content_type, stored) == body


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        ([], INVALID, "takes"),
        (["x", None, None], INVALID, "takes"),
        ([b"x"], INVALID, "body"),  # json has no bytes
        ([float("nan")], INVALID, "body"),
        ([b"x", {"content_type": "text"}], INVALID, "text takes a string"),
        (["\ud800", {"content_type": "text"}], INVALID, "surrogate"),
        (["x", {"content_type": "bytes"}], INVALID, "bytes takes bytes"),
        (["x", {"content_type": "v8"}], INVALID, "json, text, bytes"),
        (["x", {"content_type": 1}], INVALID, "content_type"),
        (["x", {"content_type": ["json"]}], INVALID, "content_type"),
        (["x", {"delay": 1}], INVALID, "unknown"),
        (["x", {"delay_seconds": -1}], INVALID, "delay_seconds"),
        (["x", {"delay_seconds": 43_201}], INVALID, "43200"),
        (["x", {"delay_seconds": 1.5}], INVALID, "delay_seconds"),
        (["x" * 128_001, {"content_type": "text"}], LIMIT, "128000"),
        (["x" * 127_999], LIMIT, "128000"),  # two quotes count
        (["ä" * 64_001, {"content_type": "text"}], LIMIT, "128000"),
    ],
)
async def test_wrong_message_is_refused_by_name(
    queue: MemoryQueueProducer, args: list[object], code: OperationErrorCode, message: str
) -> None:
    with pytest.raises(OperationError, match=message) as caught:
        await call(queue, "send", *args)
    assert caught.value.code is code
    assert queue.messages == []


@pytest.mark.parametrize(
    "args",
    [
        ["x" * 128_000, {"content_type": "text"}],
        ["x" * 127_998],
        ["x", {"delay_seconds": 43_200}],
        ["x", {"delay_seconds": 0}],
        ["x", None],
    ],
    ids=["128,000 bytes of text", "128,000 bytes of JSON", "longest delay", "no delay", "nil options"],
)
async def test_message_at_its_limits_is_sent(queue: MemoryQueueProducer, args: list[object]) -> None:
    await call(queue, "send", *args)
    assert len(queue.messages) == 1


@pytest.mark.parametrize(
    ("messages", "code", "message"),
    [
        ([], INVALID, "1 to 100"),
        ([{"body": 1}] * 101, INVALID, "1 to 100"),
        ({"body": 1}, INVALID, "array"),
        ([1], INVALID, r"messages\[0\]"),
        ([{"body": 1}, {}], INVALID, r"messages\[1\]"),
        ([{"body": 1}, {"body": 1, "x": 1}], INVALID, r"messages\[1\].*unknown"),
        ([{"body": 1}, {"body": b"x"}], INVALID, r"messages\[1\]\.body"),
        ([{"body": "x" * 128_001, "content_type": "text"}], LIMIT, r"messages\[0\]\.body"),
        (
            [{"body": "x" * 128_000, "content_type": "text"}] * 2 + [{"body": "x", "content_type": "text"}],
            LIMIT,
            "256000",
        ),
    ],
)
async def test_wrong_batch_sends_nothing(
    queue: MemoryQueueProducer, messages: Any, code: OperationErrorCode, message: str
) -> None:
    with pytest.raises(OperationError, match=message) as caught:
        await call(queue, "send_batch", messages)
    assert caught.value.code is code
    assert queue.messages == []


async def test_batch_at_its_limits_is_sent(queue: MemoryQueueProducer) -> None:
    await call(queue, "send_batch", [{"body": "x" * 128_000, "content_type": "text"}] * 2)
    await call(queue, "send_batch", [{"body": 1}] * 100)
    assert len(queue.messages) == 102


async def test_delay_of_a_message_wins_over_the_batchs(queue: MemoryQueueProducer) -> None:
    await call(
        queue,
        "send_batch",
        [{"body": 1}, {"body": 2, "delay_seconds": 0}, {"body": 3, "delay_seconds": 7}],
        {"delay_seconds": 60},
    )
    assert [message.delay_s for message in queue.messages] == [60, 0, 7]


async def test_delay_is_the_messages_own_or_the_bindings_or_the_queues() -> None:
    now = 1_000_000
    store = MemoryQueueStorage(lambda: now)
    await store.change_settings("q", QueueSettingsChange(delivery_delay_s=10))
    messages = [QueueMessage(b"", "bytes"), QueueMessage(b"", "bytes", 0)]
    await StoredQueueProducer(store, "q").send(messages)
    await StoredQueueProducer(store, "q", 20).send(messages)
    await StoredQueueProducer(store, "q", 0).send(messages)
    ready = []
    for _ in range(3):
        ready.append(await store.ready_count("q", 100))
        now += 10_000
    assert ready == [4, 5, 6]
