"""Who consumes a queue: `…/queues/{queue}/consumers`. A worker that is given batches, or whoever pulls over HTTP."""

from __future__ import annotations

from typing import Any, Final

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
WORKER: Final = "worker"
HTTP_PULL: Final = "http_pull"
MOST_VISIBILITY_MS: Final = 12 * 3600 * 1000
#: Batches of one queue at once.
MOST_CONCURRENCY: Final = 250
#: What is not set is as here.
DEFAULTS: Final = {WORKER: ConsumerSettings(), HTTP_PULL: ConsumerSettings(batch_size=5)}
#: Settings of one type alone.
_ONLY: Final = {
    "max_wait_time_ms": WORKER,
    "max_concurrency": WORKER,
    "visibility_timeout_ms": HTTP_PULL,
}


class SettingsRequest(msgspec.Struct, forbid_unknown_fields=True):
    batch_size: int | None = None
    max_retries: int | None = None
    max_wait_time_ms: int | None = None
    retry_delay: int | None = None
    max_concurrency: int | None = None
    visibility_timeout_ms: int | None = None
    dead_letter_queue: str | None = None


class ConsumerRequest(msgspec.Struct):
    script_name: str | None = None
    type: str = WORKER
    dispatch_namespace: str | None = None
    settings: SettingsRequest | None = None
    dead_letter_queue: str | None = None


async def list_all(call: Call) -> Response:
    return success([show_consumer(row) for row in call.store.queues.consumers(call.params["queue"])])


async def get(call: Call) -> Response:
    return success(show_consumer(call.store.queues.consumer(call.params["queue"], call.params["consumer"])))


async def create(call: Call) -> Response:
    return success(show_consumer(await _put(call, None)))


async def replace(call: Call) -> Response:
    return success(show_consumer(await _put(call, call.params["consumer"])))


async def delete(call: Call) -> Response:
    await call.store.queues.delete_consumer(call.params["queue"], call.params["consumer"])
    return success(None)


async def _put(call: Call, consumer_id: str | None) -> ConsumerRow:
    wanted = await call.json(ConsumerRequest)
    settings = wanted.settings or SettingsRequest()
    return await call.store.queues.put_consumer(
        call.params["queue"],
        consumer_id,
        parse_consumer(wanted),
        parse_settings(settings, wanted.type),
        wanted.dead_letter_queue or settings.dead_letter_queue,
    )


def parse_consumer(wanted: ConsumerRequest) -> ScriptRef | None:
    """The worker; None for who pulls. Pure. Raises ApiError(400) naming the field."""
    if wanted.type == HTTP_PULL:
        for field in ("script_name", "dispatch_namespace"):
            if getattr(wanted, field) is not None:
                message = f"{field}: a consumer of type {HTTP_PULL} is no script; {WORKER} is the type of one"
                raise ApiError(400, Code.VALIDATION, message, field)
        return None
    if wanted.type != WORKER:
        raise ApiError(
            400, Code.VALIDATION, f"type: {wanted.type[:40]!r}; {WORKER} or {HTTP_PULL} is right", "type"
        )
    if wanted.script_name is None:
        raise ApiError(
            400, Code.VALIDATION, "script_name: missing; the consuming script's name is right", "script_name"
        )
    namespace = (
        None
        if wanted.dispatch_namespace is None
        else named(parse_namespace_name, wanted.dispatch_namespace, "dispatch_namespace")
    )
    return ScriptRef(namespace, parse_script_field(wanted.script_name, "script_name"))


def parse_settings(settings: SettingsRequest, of_type: str) -> ConsumerSettings:
    """Pure; `of_type` was checked. Raises ApiError(400) naming the field."""
    for name, only in _ONLY.items():
        if getattr(settings, name) is not None and of_type != only:
            field = f"settings.{name}"
            raise ApiError(400, Code.VALIDATION, f"{field}: only consumers of type {only} have it", field)
    default = DEFAULTS[of_type]
    wait_ms = bounded("max_wait_time_ms", settings.max_wait_time_ms, 0, 60_000)
    visibility_ms = bounded("visibility_timeout_ms", settings.visibility_timeout_ms, 1, MOST_VISIBILITY_MS)
    size = bounded("batch_size", settings.batch_size, 1, 100)
    retries = bounded("max_retries", settings.max_retries, 0, 100)
    delay_s = bounded("retry_delay", settings.retry_delay, 0, 43_200)
    return ConsumerSettings(
        batch_size=default.batch_size if size is None else size,
        max_wait_ms=default.max_wait_ms if wait_ms is None else wait_ms,
        max_retries=default.max_retries if retries is None else retries,
        retry_delay_s=default.retry_delay_s if delay_s is None else delay_s,
        max_concurrency=bounded("max_concurrency", settings.max_concurrency, 1, MOST_CONCURRENCY),
        visibility_timeout_ms=default.visibility_timeout_ms if visibility_ms is None else visibility_ms,
    )


def show_consumer(row: ConsumerRow) -> dict[str, Any]:
    settings = row.settings
    shown: dict[str, Any] = {
        "consumer_id": row.id,
        "type": HTTP_PULL if row.script is None else WORKER,
        "queue_id": row.queue_id,
        "queue_name": row.queue_name,
        "created_on": rfc3339(row.created_at_ms),
        "settings": {
            "batch_size": settings.batch_size,
            "max_retries": settings.max_retries,
            "retry_delay": settings.retry_delay_s,
        },
    }
    if row.script is None:
        shown["settings"]["visibility_timeout_ms"] = settings.visibility_timeout_ms
    else:
        shown["settings"]["max_wait_time_ms"] = settings.max_wait_ms
        shown["settings"]["max_concurrency"] = settings.max_concurrency
        shown["script_name"] = shown["script"] = row.script.script
        if row.script.namespace is not None:
            shown["dispatch_namespace"] = row.script.namespace
    if row.dead_letter_queue is not None:
        shown["dead_letter_queue"] = row.dead_letter_queue
    return shown


def bounded(name: str, value: int | None, least: int, most: int) -> int | None:
    """A setting's value as it is. Raises ApiError(400)."""
    if value is None or least <= value <= most:
        return value
    field = f"settings.{name}"
    raise ApiError(
        400, Code.VALIDATION, f"{field}: {value}; a whole number from {least} to {most} is right", field
    )


ENDPOINTS = [
    Endpoint("GET", _CONSUMERS, list_all),
    Endpoint("POST", _CONSUMERS, create),
    Endpoint("GET", _CONSUMER, get),
    Endpoint("PUT", _CONSUMER, replace),
    Endpoint("DELETE", _CONSUMER, delete),
]
