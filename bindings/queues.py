"""Queues, the sending end: what a guest may send, and the rules that the control API shares.

Source of rules and limits: Cloudflare Queues (sizes are 1000-based there). Consumers are served by
`bindings.queue_delivery`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, NoReturn, Protocol, cast

from bindings.arguments import (
    check_count,
    decode_json,
    encode_json,
    invalid,
    parse_int,
    parse_options,
    type_name,
    utf8_size,
)
from bindings.failures import unavailable
from model.capabilities import GuestEvent, QueueMessage, QueueProducer
from model.errors import OperationError, OperationErrorCode
from storage.failures import StorageError

MESSAGE_BYTES: Final = 128_000
BATCH_BYTES: Final = 256_000
BATCH_MESSAGES: Final = 100
MOST_DELAY_S: Final = 43_200
CONTENT_TYPES: Final = ("json", "text", "bytes")

_SEND_OPTIONS: Final = frozenset({"content_type", "delay_seconds"})
_BATCH_OPTIONS: Final = frozenset({"delay_seconds"})
_MESSAGE_KEYS: Final = frozenset({"body", "content_type", "delay_seconds"})


class QueueSender(Protocol):
    """What a producer needs of a queue store."""

    async def send(self, queue_id: str, messages: Sequence[QueueMessage]) -> Sequence[str]: ...


class StoredQueueProducer:
    """A QueueProducer over the store: the queue that a binding names. `delay_s`: of messages without their own, where
    the binding says more than the queue.
    """

    __slots__ = ("_delay_s", "_queue_id", "_store")

    def __init__(self, store: QueueSender, queue_id: str, delay_s: int | None = None) -> None:
        self._store = store
        self._queue_id = queue_id
        self._delay_s = delay_s

    async def send(self, messages: Sequence[QueueMessage]) -> None:
        if self._delay_s is not None:
            messages = [
                message if message.delay_s is not None else replace(message, delay_s=self._delay_s)
                for message in messages
            ]
        await self._store.send(self._queue_id, messages)


# Rules that the control API shares. Each raises OperationError(invalid_argument | limit_exceeded).


def parse_message(
    body: object, content_type: object, delay_seconds: object, default_delay_s: int | None = None
) -> QueueMessage:
    """One message. `content_type` nil is json; `delay_seconds` nil is `default_delay_s`, None the queue's."""
    kind = "json" if content_type is None else content_type
    if kind == "json":
        data = encode_json("body", body).encode()
    elif kind == "text":
        if not isinstance(body, str):
            invalid(f"body: {type_name(body)}; content_type text takes a string")
        utf8_size("body", body)
        data = body.encode()
    elif kind == "bytes":
        if not isinstance(body, bytes):
            invalid(f"body: {type_name(body)}; content_type bytes takes bytes")
        data = body
    else:
        shown = repr(kind[:64]) if isinstance(kind, str) else type_name(kind)
        invalid(f"content_type: {shown}; {', '.join(CONTENT_TYPES)} are right")
    if len(data) > MESSAGE_BYTES:
        _too_large(f"body: {len(data)} bytes", f"{MESSAGE_BYTES} a message")
    delay = default_delay_s if delay_seconds is None else parse_delay(delay_seconds)
    return QueueMessage(data, kind, delay)


def parse_delay(value: object, name: str = "delay_seconds") -> int:
    """In seconds, 0 to 43,200."""
    return parse_int(name, value, 0, MOST_DELAY_S)


def parse_batch(messages: object, delay_seconds: object) -> list[QueueMessage]:
    """`[{body, content_type?, delay_seconds?}…]`; `delay_seconds` is for those without their own."""
    if not isinstance(messages, list | tuple) or not 1 <= len(messages) <= BATCH_MESSAGES:
        invalid(
            f"messages: an array of 1 to {BATCH_MESSAGES} maps {{body, content_type?, delay_seconds?}}"
            " is right"
        )
    default_delay = None if delay_seconds is None else parse_delay(delay_seconds)
    parsed: list[QueueMessage] = []
    size = 0
    for number, message in enumerate(messages):
        if not isinstance(message, dict) or "body" not in message:
            invalid(f"messages[{number}]: a map {{body, content_type?, delay_seconds?}} is right")
        options = parse_options(f"messages[{number}]", message, _MESSAGE_KEYS)
        try:
            one = parse_message(
                options["body"], options.get("content_type"), options.get("delay_seconds"), default_delay
            )
        except OperationError as error:
            raise OperationError(error.code, f"messages[{number}].{error.message}") from error
        size += len(one.body)
        if size > BATCH_BYTES:
            _too_large("messages: their bodies", f"{BATCH_BYTES} bytes a batch")
        parsed.append(one)
    return parsed


def body_value(content_type: str, body: bytes) -> Any:
    """A stored body as the guest that consumes it sees it: a value, a string, or bytes."""
    match content_type:
        case "json":
            return decode_json(body)
        case "text":
            return body.decode()
        case _:
            return body


# The operations: docs/bindings.md gives their shapes.


async def queue_send(event: GuestEvent, lent: object, args: Sequence[object]) -> object:
    check_count("queue.send", args, 1, 2, "body, options?")
    options = parse_options("queue.send", args[1] if len(args) == 2 else None, _SEND_OPTIONS)
    message = parse_message(args[0], options.get("content_type"), options.get("delay_seconds"))
    await _send(lent, [message])
    return None


async def queue_send_batch(event: GuestEvent, lent: object, args: Sequence[object]) -> object:
    check_count("queue.send_batch", args, 1, 2, "messages, options?")
    options = parse_options("queue.send_batch", args[1] if len(args) == 2 else None, _BATCH_OPTIONS)
    await _send(lent, parse_batch(args[0], options.get("delay_seconds")))
    return None


async def _send(lent: object, messages: Sequence[QueueMessage]) -> None:
    try:
        await cast("QueueProducer", lent).send(messages)
    except StorageError as error:
        raise unavailable(error) from error


def _too_large(what: str, most: str) -> NoReturn:
    raise OperationError(OperationErrorCode.LIMIT_EXCEEDED, f"{what}; at most {most} are allowed")
