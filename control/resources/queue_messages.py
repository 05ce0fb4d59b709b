"""What is in a queue: `…/queues/{queue}/messages`. Sent, pulled and settled, looked at, purged."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from starlette.responses import Response

from bindings.queues import MOST_DELAY_S, parse_batch, parse_message
from control.call import Call, Endpoint, decode_json, rfc3339
from control.envelope import ApiError, Code, success
from control.resources.queue_consumers import MOST_VISIBILITY_MS, QUEUE
from model.capabilities import QueueMessage
from storage.control_records import ConsumerRow
from storage.queue_protocol import DeadLettering, PullsSettled, StoredMessage

#: A batch is at most 256,000 bytes; JSON and base64 make it longer.
_MESSAGES_BODY: Final = 2 << 20
#: Leases, or references, of one request.
MOST_NAMED: Final = 1_000
_NAMED_BODY: Final = 256 << 10
MOST_PULLED: Final = 100
MOST_PEEKED: Final = 100


class Message(msgspec.Struct, omit_defaults=True):
    body: Any
    content_type: str | None = None
    delay_seconds: int | None = None


class MessageBatch(msgspec.Struct):
    messages: list[Message]
    delay_seconds: int | None = None


class Pull(msgspec.Struct):
    batch_size: int | None = None
    visibility_timeout_ms: int | None = None
    #: As some of Cloudflare's SDKs and examples spell it; in ms too.
    visibility_timeout: int | None = None


class Acknowledged(msgspec.Struct):
    lease_id: str


class Retried(msgspec.Struct):
    lease_id: str
    delay_seconds: int | None = None


class Verdict(msgspec.Struct):
    acks: list[Acknowledged] = []
    retries: list[Retried] = []


class Peek(msgspec.Struct):
    batch_size: int = 5


class Reference(msgspec.Struct):
    ref: str


class Purge(msgspec.Struct):
    refs: list[Reference] | None = None


async def send(call: Call) -> Response:
    message = _message(await call.json(Message), "body")
    parsed = parse_message(message["body"], message.get("content_type"), message.get("delay_seconds"))
    return await _send(call, [parsed])


async def send_batch(call: Call) -> Response:
    batch = await call.json(MessageBatch)
    messages = [_message(each, f"messages[{index}].body") for index, each in enumerate(batch.messages)]
    return await _send(call, parse_batch(messages, batch.delay_seconds))


async def pull(call: Call) -> Response:
    """Answers at once, with what may be delivered now."""
    consumer = call.store.queues.pull_consumer(call.params["queue"])
    wanted = decode_json(await call.body() or b"{}", Pull)
    settings, queues = consumer.settings, call.services.queues
    timeout_ms = (
        wanted.visibility_timeout if wanted.visibility_timeout_ms is None else wanted.visibility_timeout_ms
    )
    pulled = await queues.pull(
        consumer.queue_id,
        _within("batch_size", wanted.batch_size, 1, MOST_PULLED, settings.batch_size),
        _within("visibility_timeout_ms", timeout_ms, 1, MOST_VISIBILITY_MS, settings.visibility_timeout_ms),
        _used_up(consumer),
    )
    messages, _ = await queues.stored(consumer.queue_id)
    shown = [show_message(each.message) | {"lease_id": each.lease_id} for each in pulled]
    return success({"message_backlog_count": messages, "messages": shown})


async def acknowledge(call: Call) -> Response:
    consumer = call.store.queues.pull_consumer(call.params["queue"])
    wanted = await call.json(Verdict)
    if len(wanted.acks) + len(wanted.retries) > MOST_NAMED:
        raise ApiError(
            400, Code.VALIDATION, f"acks: at most {MOST_NAMED} with the retries; send them in parts", "acks"
        )
    acknowledged = [each.lease_id for each in wanted.acks]
    delay_s = consumer.settings.retry_delay_s
    retried = {
        each.lease_id: _within(
            f"retries[{index}].delay_seconds", each.delay_seconds, 0, MOST_DELAY_S, delay_s
        )
        for index, each in enumerate(wanted.retries)
    }
    found = await call.services.queues.settle_pulled(
        consumer.queue_id, acknowledged, retried, _used_up(consumer)
    )
    call.services.queue_settled(found.settled)
    settled = found.settled
    return success(
        {
            "ackCount": settled.acknowledged,
            "retryCount": settled.retried + settled.dead_lettered + settled.dropped,
            "warnings": warnings_of(found),
        }
    )


async def peek(call: Call) -> Response:
    queue = call.store.queues.get(call.params["queue"])
    wanted = decode_json(await call.body() or b"{}", Peek)
    count = _within("batch_size", wanted.batch_size, 1, MOST_PEEKED, 5)
    found = await call.services.queues.peek(queue.id, count)
    return success({"messages": [show_message(each) | {"ref": each.ref} for each in found]})


async def purge(call: Call) -> Response:
    """All messages that are in it now, those in delivery too; or those that `refs` names."""
    queue = call.store.queues.get(call.params["queue"])
    wanted = decode_json(await call.body() or b"{}", Purge)
    if wanted.refs is not None:
        return await _remove(call, queue.id, [each.ref for each in wanted.refs])
    removed = await call.services.queues.purge(queue.id)
    return success(
        {
            "started_at": rfc3339(call.services.now_s() * 1000),
            "complete": "complete",
            "removed": removed,
        }
    )


def show_message(message: StoredMessage) -> dict[str, Any]:
    """As Cloudflare gives it to who pulls: text is text, JSON and bytes are base64 of what was sent."""
    is_text = message.content_type == "text"
    return {
        "id": message.id,
        "timestamp_ms": message.sent_at_ms,
        "attempts": message.attempts,
        "body": message.body.decode() if is_text else base64.b64encode(message.body).decode(),
        "metadata": {"CF-Content-Type": message.content_type},
    }


def warnings_of(found: PullsSettled) -> list[str]:
    """Pure."""
    late = [
        f"lease {each} had ended; it counts all the same, since nobody else had the message yet"
        for each in found.late
    ]
    # What isn't a lease may be any text.
    not_held = [
        f"lease {each[:80]!r} is none of this queue, or no longer: another has the message, or it is gone"
        for each in found.not_held
    ]
    return late + not_held


async def _send(call: Call, messages: list[QueueMessage]) -> Response:
    queue = call.store.queues.get(call.params["queue"])
    return success({"message_ids": list(await call.services.queues.send(queue.id, messages))})


async def _remove(call: Call, queue_id: str, refs: Sequence[str]) -> Response:
    if len(refs) > MOST_NAMED:
        raise ApiError(400, Code.VALIDATION, f"refs: at most {MOST_NAMED}; send them in parts", "refs")
    removed = await call.services.queues.remove(queue_id, refs)
    gone = {ref: "no message of this queue, or no longer" for ref in refs if ref not in removed}
    return success({"removed": len(removed), "errors": [], "warnings": gone})


def _used_up(consumer: ConsumerRow) -> DeadLettering:
    return DeadLettering(consumer.settings.max_retries + 1, consumer.settings.dead_letter_queue_id)


def _within(field: str, value: int | None, least: int, most: int, default: int) -> int:
    if value is None:
        return default
    if not least <= value <= most:
        raise ApiError(
            400, Code.VALIDATION, f"{field}: {value}; a whole number from {least} to {most} is right", field
        )
    return value


def _message(message: Message, field: str) -> dict[str, Any]:
    """As `bindings.queues` takes it: JSON has no bytes, so they come as base64."""
    body = message.body
    if message.content_type == "bytes":
        try:
            if not isinstance(body, str):
                raise ValueError("no string")
            body = base64.b64decode(body.encode(), validate=True)
        except (ValueError, binascii.Error):
            raise ApiError(
                400, Code.VALIDATION, f"{field}: content_type bytes takes base64 text", field
            ) from None
    shown: dict[str, Any] = {"body": body}
    if message.content_type is not None:
        shown["content_type"] = message.content_type
    if message.delay_seconds is not None:
        shown["delay_seconds"] = message.delay_seconds
    return shown


_MESSAGES = f"{QUEUE}/messages"

ENDPOINTS = [
    Endpoint("POST", _MESSAGES, send, body_bytes=_MESSAGES_BODY),
    Endpoint("POST", f"{_MESSAGES}/batch", send_batch, body_bytes=_MESSAGES_BODY),
    Endpoint("POST", f"{_MESSAGES}/pull", pull),
    Endpoint("POST", f"{_MESSAGES}/ack", acknowledge, body_bytes=_NAMED_BODY),
    Endpoint("POST", f"{_MESSAGES}/peek", peek),
    Endpoint("POST", f"{_MESSAGES}/purge", purge, body_bytes=_NAMED_BODY),
    Endpoint("POST", f"{QUEUE}/purge", purge),
]
