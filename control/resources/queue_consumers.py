"""Who consumes a queue: `…/queues/{queue}/consumers`."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

from control.call import Call, Endpoint, named, parse_script_field, rfc3339
from control.envelope import ApiError, Code, success
from control.resources.addresses import ACCOUNT
from model.identity import parse_namespace_name
from model.queues import ConsumerSettings
from model.scripts import ScriptRef
from storage.control_records import ConsumerRow

QUEUE = f"{ACCOUNT}/queues/{{queue}}"
_CONSUMERS = f"{QUEUE}/consumers"
_CONSUMER = f"{_CONSUMERS}/{{consumer}}"
_DEFAULTS = ConsumerSettings()


class SettingsRequest(msgspec.Struct, forbid_unknown_fields=True):
    batch_size: int | None = None
    max_retries: int | None = None
    max_wait_time_ms: int | None = None
    retry_delay: int | None = None
    max_concurrency: int | None = None
    dead_letter_queue: str | None = None


class ConsumerRequest(msgspec.Struct):
    script_name: str | None = None
    type: str = "worker"
    dispatch_namespace: str | None = None
    settings: SettingsRequest | None = None
    dead_letter_queue: str | None = None


async def list_all(call: Call) -> Response:
    return success([show_consumer(row) for row in call.store.queues.consumers(call.params["queue"])])


async def create(call: Call) -> Response:
    return success(show_consumer(await _put(call, None)))


async def replace(call: Call) -> Response:
    return success(show_consumer(await _put(call, call.params["consumer"])))


async def delete(call: Call) -> Response:
    await call.store.queues.delete_consumer(call.params["queue"], call.params["consumer"])
    return success(None)


async def _put(call: Call, consumer_id: str | None) -> ConsumerRow:
    wanted = await call.json(ConsumerRequest)
    if wanted.type != "worker":
        raise ApiError(
            400,
            Code.VALIDATION,
            f"type: {wanted.type[:40]!r}; worker is right: a queue is consumed by a script",
            "type",
        )
    if wanted.script_name is None:
        raise ApiError(
            400, Code.VALIDATION, "script_name: missing; the consuming script's name is right", "script_name"
        )
    settings = wanted.settings or SettingsRequest()
    namespace = (
        None
        if wanted.dispatch_namespace is None
        else named(parse_namespace_name, wanted.dispatch_namespace, "dispatch_namespace")
    )
    return await call.store.queues.put_consumer(
        call.params["queue"],
        consumer_id,
        ScriptRef(namespace, parse_script_field(wanted.script_name, "script_name")),
        parse_settings(settings),
        wanted.dead_letter_queue or settings.dead_letter_queue,
    )


def parse_settings(settings: SettingsRequest) -> ConsumerSettings:
    """Pure. Raises ApiError(400) naming the field."""
    if settings.max_concurrency is not None:
        raise ApiError(
            400,
            Code.VALIDATION,
            "settings.max_concurrency: one batch at a time in each worker process; null is right",
            "settings.max_concurrency",
        )
    return ConsumerSettings(
        _bounded("batch_size", settings.batch_size, 1, 100, _DEFAULTS.batch_size),
        _bounded("max_wait_time_ms", settings.max_wait_time_ms, 0, 60_000, _DEFAULTS.max_wait_ms),
        _bounded("max_retries", settings.max_retries, 0, 100, _DEFAULTS.max_retries),
        _bounded("retry_delay", settings.retry_delay, 0, 43_200, _DEFAULTS.retry_delay_s),
    )


def show_consumer(row: ConsumerRow) -> dict[str, Any]:
    settings = row.record.settings
    shown: dict[str, Any] = {
        "consumer_id": row.id,
        "type": "worker",
        "queue_id": row.record.queue_id,
        "queue_name": row.record.queue_name,
        "script_name": row.record.script.script,
        "script": row.record.script.script,
        "created_on": rfc3339(row.created_at_ms),
        "settings": {
            "batch_size": settings.batch_size,
            "max_wait_time_ms": settings.max_wait_ms,
            "max_retries": settings.max_retries,
            "retry_delay": settings.retry_delay_s,
            "max_concurrency": None,
        },
    }
    if row.record.script.namespace is not None:
        shown["dispatch_namespace"] = row.record.script.namespace
    if row.dead_letter_queue is not None:
        shown["dead_letter_queue"] = row.dead_letter_queue
    return shown


def _bounded(name: str, value: int | None, least: int, most: int, default: int) -> int:
    if value is None:
        return default
    if not least <= value <= most:
        field = f"settings.{name}"
        raise ApiError(
            400, Code.VALIDATION, f"{field}: {value}; a whole number from {least} to {most} is right", field
        )
    return value


ENDPOINTS = [
    Endpoint("GET", _CONSUMERS, list_all),
    Endpoint("POST", _CONSUMERS, create),
    Endpoint("PUT", _CONSUMER, replace),
    Endpoint("DELETE", _CONSUMER, delete),
]
