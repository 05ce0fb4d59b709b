"""Queues and what is sent to them: `…/queues`. Their consumers are in `queue_consumers`."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

import msgspec
from starlette.responses import Response

from bindings.queues import parse_batch, parse_message
from control.call import Call, Endpoint, owner_fields, parse_owner, rfc3339
from control.deletions import finish_deletions
from control.envelope import ApiError, Code, success
from control.pagination import parse_page
from control.resources.addresses import ACCOUNT
from control.resources.queue_consumers import QUEUE, show_consumer
from model.capabilities import QueueMessage
from model.scripts import ScriptRef
from storage.control_records import QueueRow

_QUEUES = f"{ACCOUNT}/queues"
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
#: A batch is at most 256,000 bytes; JSON and base64 make it longer.
_MESSAGES_BODY = 2 << 20


class QueueChange(msgspec.Struct):
    queue_name: str
    tenant: str | None = None
    namespace: str | None = None
    settings: dict[str, Any] | None = None


class Message(msgspec.Struct, omit_defaults=True):
    body: Any
    content_type: str | None = None
    delay_seconds: int | None = None


class MessageBatch(msgspec.Struct):
    messages: list[Message]
    delay_seconds: int | None = None


async def create(call: Call) -> Response:
    wanted = await call.json(QueueChange)
    name, owner = _name(wanted), parse_owner(wanted.tenant, wanted.namespace)
    return success(_show(call, await call.store.queues.create(name, owner)))


async def list_all(call: Call) -> Response:
    page = parse_page(call.query)
    names = call.request.query_params.getlist("name")
    if names:
        named = [row for name in dict.fromkeys(names) if (row := call.store.queues.named(name)) is not None]
        found, total = named[page.offset : page.offset + page.per_page], len(named)
    else:
        found, total = await call.store.queues.page(page.per_page, page.offset)
    return success([_show(call, row) for row in found], page.info(len(found), total))


async def get(call: Call) -> Response:
    return success(_show(call, call.store.queues.get(call.params["queue"])))


async def rename(call: Call) -> Response:
    name = _name(await call.json(QueueChange))
    return success(_show(call, await call.store.queues.rename(call.params["queue"], name)))


async def delete(call: Call) -> Response:
    await call.store.queues.delete(call.params["queue"], force=call.flag("force"))
    await finish_deletions(call.services)
    return success(None)


async def send(call: Call) -> Response:
    message = _message(await call.json(Message), "body")
    parsed = parse_message(message["body"], message.get("content_type"), message.get("delay_seconds"))
    return await _send(call, [parsed])


async def send_batch(call: Call) -> Response:
    batch = await call.json(MessageBatch)
    messages = [_message(each, f"messages[{index}].body") for index, each in enumerate(batch.messages)]
    return await _send(call, parse_batch(messages, batch.delay_seconds))


async def purge(call: Call) -> Response:
    """All messages that are in it now; those in delivery too."""
    queue = call.store.queues.get(call.params["queue"])
    removed = await call.services.queues.purge(queue.id)
    return success(
        {
            "started_at": rfc3339(call.services.now_s() * 1000),
            "complete": "complete",
            "removed": removed,
        }
    )


async def _send(call: Call, messages: list[QueueMessage]) -> Response:
    queue = call.store.queues.get(call.params["queue"])
    return success({"message_ids": list(await call.services.queues.send(queue.id, messages))})


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


def _name(wanted: QueueChange) -> str:
    for setting, value in (wanted.settings or {}).items():
        if value is not None:
            field = f"settings.{setting[:64]}"
            raise ApiError(
                400,
                Code.VALIDATION,
                f"{field}: this host has no such setting of a queue; delays are set for a message or a consumer",
                field,
            )
    if not _NAME.fullmatch(wanted.queue_name):
        raise ApiError(
            400,
            Code.INVALID_NAME,
            f"queue_name: {wanted.queue_name[:80]!r}; 1 to 63 of a-z, 0-9 and '-', no '-' at the ends, is right",
            "queue_name",
        )
    return wanted.queue_name


def _show(call: Call, row: QueueRow) -> dict[str, Any]:
    consumers = [show_consumer(consumer) for consumer in call.store.queues.consumers(row.id)]
    producers = [_show_producer(ref) for ref in call.store.queues.producers(row.id)]
    return {
        "queue_id": row.id,
        "queue_name": row.name,
        "created_on": rfc3339(row.created_at_ms),
        "modified_on": rfc3339(row.modified_at_ms),
        "settings": {},
        "producers": producers,
        "producers_total_count": len(producers),
        "consumers": consumers,
        "consumers_total_count": len(consumers),
        **owner_fields(row.owner),
    }


def _show_producer(ref: ScriptRef) -> dict[str, Any]:
    shown = {"type": "worker", "script": ref.script}
    return shown if ref.namespace is None else shown | {"dispatch_namespace": ref.namespace}


ENDPOINTS = [
    Endpoint("POST", _QUEUES, create),
    Endpoint("GET", _QUEUES, list_all),
    Endpoint("GET", QUEUE, get),
    Endpoint("PUT", QUEUE, rename),
    Endpoint("PATCH", QUEUE, rename),
    Endpoint("DELETE", QUEUE, delete),
    Endpoint("POST", f"{QUEUE}/messages", send, body_bytes=_MESSAGES_BODY),
    Endpoint("POST", f"{QUEUE}/messages/batch", send_batch, body_bytes=_MESSAGES_BODY),
    Endpoint("POST", f"{QUEUE}/messages/purge", purge),
    Endpoint("POST", f"{QUEUE}/purge", purge),
]
