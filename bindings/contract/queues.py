"""Sending to queues."""

from __future__ import annotations

from typing import Final

from bindings.contract.notes import STORAGE, OperationNotes, Rows
from bindings.queues import (
    BATCH_BYTES,
    BATCH_MESSAGES,
    MESSAGE_BYTES,
    MOST_DELAY_S,
    queue_send,
    queue_send_batch,
)
from model.errors import OperationErrorCode as Code
from model.scripts import BindingKind

_QUEUE_SEND = (
    *STORAGE,
    (Code.NOT_FOUND, "the queue was deleted"),
    (Code.LIMIT_EXCEEDED, "`Storage Limit Exceeded`: the queue's backlog is full"),
)
_DELAY = f"delay_seconds?: int (0 to {MOST_DELAY_S}; the binding's or the queue's by default)"
_MESSAGE_LIMITS = (f"a message {MESSAGE_BYTES} bytes", "JSON at most 24 deep, integers within 64 bits")

QUEUES: Final[Rows] = (
    (
        OperationNotes(
            "queue.send",
            "Send one message; answers when it is durable.",
            (
                ("body", "any JSON value | str | bin, by content_type"),
                ("options?", f'{{content_type?: "json" (default) | "text" | "bytes", {_DELAY}}}'),
            ),
            "nil",
            _QUEUE_SEND,
            _MESSAGE_LIMITS,
            BindingKind.QUEUE,
            True,
            wasi=("wasi:messaging/producer#send",),
        ),
        queue_send,
    ),
    (
        OperationNotes(
            "queue.send_batch",
            "Send several messages, all or none; answers when they are durable.",
            (
                ("messages", "[{body, content_type?, delay_seconds?}…], each as of queue.send"),
                ("options?", f"{{{_DELAY}}}, for messages without their own"),
            ),
            "nil",
            _QUEUE_SEND,
            (f"1 to {BATCH_MESSAGES} messages, {BATCH_BYTES} bytes together", *_MESSAGE_LIMITS),
            BindingKind.QUEUE,
            True,
        ),
        queue_send_batch,
    ),
)
