"""Queues: `…/queues`. What is in them is in `queue_messages`, their consumers are in `queue_consumers`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from starlette.responses import Response

from control.call import Call, Endpoint, owner_fields, parse_owner, rfc3339
from control.deletions import finish_deletions
from control.envelope import ApiError, Code, success
from control.pagination import parse_page
from control.resources.addresses import ACCOUNT
from control.resources.queue_consumers import QUEUE, bounded, show_consumer
from model.queues import RETENTION_S, QueueSettings, QueueSettingsChange
from model.scripts import ScriptRef
from storage.control_records import QueueRow

_QUEUES = f"{ACCOUNT}/queues"
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
MOST_RETENTION_S: Final = 14 * 24 * 3600


class SettingsRequest(msgspec.Struct, forbid_unknown_fields=True):
    delivery_delay: int | None = None
    delivery_paused: bool | None = None
    message_retention_period: int | None = None


class QueueRequest(msgspec.Struct):
    queue_name: str
    tenant: str | None = None
    namespace: str | None = None
    settings: SettingsRequest | None = None


class QueueEdit(msgspec.Struct):
    queue_name: str | None = None
    settings: SettingsRequest | None = None


async def create(call: Call) -> Response:
    wanted = await call.json(QueueRequest)
    name, owner = _name(wanted.queue_name), parse_owner(wanted.tenant, wanted.namespace)
    change = parse_settings(wanted.settings)
    made = await call.store.queues.create(name, owner)
    if change != QueueSettingsChange():
        await call.services.queues.change_settings(made.id, change)
    return success(await _show_one(call, made))


async def list_all(call: Call) -> Response:
    page = parse_page(call.query)
    names = call.request.query_params.getlist("name")
    if names:
        named = [row for name in dict.fromkeys(names) if (row := call.store.queues.named(name)) is not None]
        found, total = named[page.offset : page.offset + page.per_page], len(named)
    else:
        found, total = await call.store.queues.page(page.per_page, page.offset)
    return success(await _show_all(call, found), page.info(len(found), total))


async def get(call: Call) -> Response:
    return success(await _show_one(call, call.store.queues.get(call.params["queue"])))


async def replace(call: Call) -> Response:
    """All of it: a setting that is not named is as if it had never been set."""
    wanted = await call.json(QueueRequest)
    change = parse_settings(wanted.settings, QueueSettings())
    return await _change(call, _name(wanted.queue_name), change)


async def edit(call: Call) -> Response:
    """What is named."""
    wanted = await call.json(QueueEdit)
    name = None if wanted.queue_name is None else _name(wanted.queue_name)
    return await _change(call, name, parse_settings(wanted.settings))


async def delete(call: Call) -> Response:
    await call.store.queues.delete(call.params["queue"], force=call.flag("force"))
    await finish_deletions(call.services)
    return success(None)


async def metrics(call: Call) -> Response:
    queue = call.store.queues.get(call.params["queue"])
    messages, size = await call.services.queues.stored(queue.id)
    oldest = await call.services.queues.peek(queue.id, 1)
    return success(
        {
            "backlog_count": messages,
            "backlog_bytes": size,
            "oldest_message_timestamp_ms": oldest[0].sent_at_ms if oldest else 0,
        }
    )


def parse_settings(
    wanted: SettingsRequest | None, default: QueueSettings | None = None
) -> QueueSettingsChange:
    """Pure. What is not named is `default`'s; without one it stays. Raises ApiError(400) naming the field."""
    wanted = wanted or SettingsRequest()
    delay = bounded("delivery_delay", wanted.delivery_delay, 0, 43_200)
    retention = bounded("message_retention_period", wanted.message_retention_period, 60, MOST_RETENTION_S)
    if default is None:
        return QueueSettingsChange(wanted.delivery_paused, delay, retention)
    return QueueSettingsChange(
        default.delivery_paused if wanted.delivery_paused is None else wanted.delivery_paused,
        default.delivery_delay_s if delay is None else delay,
        RETENTION_S if retention is None else retention,
    )


async def _change(call: Call, name: str | None, change: QueueSettingsChange) -> Response:
    queue = call.store.queues.get(call.params["queue"])
    if name is not None and name != queue.name:
        queue = await call.store.queues.rename(queue.id, name)
    if change != QueueSettingsChange():
        await call.services.queues.change_settings(queue.id, change)
    return success(await _show_one(call, queue))


def _name(wanted: str) -> str:
    if not _NAME.fullmatch(wanted):
        raise ApiError(
            400,
            Code.INVALID_NAME,
            f"queue_name: {wanted[:80]!r}; 1 to 63 of a-z, 0-9 and '-', no '-' at the ends, is right",
            "queue_name",
        )
    return wanted


async def _show_one(call: Call, row: QueueRow) -> dict[str, Any]:
    return (await _show_all(call, [row]))[0]


async def _show_all(call: Call, rows: Sequence[QueueRow]) -> list[dict[str, Any]]:
    settings = await call.services.queues.settings([row.id for row in rows]) if rows else {}
    return [_show(call, row, settings) for row in rows]


def _show(call: Call, row: QueueRow, settings: Mapping[str, QueueSettings]) -> dict[str, Any]:
    consumers = [show_consumer(consumer) for consumer in call.store.queues.consumers(row.id)]
    producers = [_show_producer(ref) for ref in call.store.queues.producers(row.id)]
    return {
        "queue_id": row.id,
        "queue_name": row.name,
        "created_on": rfc3339(row.created_at_ms),
        "modified_on": rfc3339(row.modified_at_ms),
        "settings": {
            "delivery_delay": settings[row.id].delivery_delay_s,
            "delivery_paused": settings[row.id].delivery_paused,
            "message_retention_period": settings[row.id].retention_s,
        },
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
    Endpoint("PUT", QUEUE, replace),
    Endpoint("PATCH", QUEUE, edit),
    Endpoint("DELETE", QUEUE, delete),
    Endpoint("GET", f"{QUEUE}/metrics", metrics),
]
