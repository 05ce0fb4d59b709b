"""SQL databases: `…/d1/database`. Statements run in worker processes, under the rules that hold for workers' own."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import msgspec
from starlette.responses import Response

from bindings.d1 import parse_session, parse_sql, parse_statement, show_bookmark, show_meta
from control.call import Call, Endpoint, owner_fields, parse_owner, rfc3339
from control.deletions import finish_deletions
from control.envelope import ApiError, Code, success
from control.pagination import parse_page
from control.resources.addresses import ACCOUNT
from model.errors import OperationError, OperationErrorCode
from model.sql import SqlResult, SqlStatement
from storage.d1.limits import BATCH_STATEMENTS
from storage.d1.service import IMPORT_BYTES
from storage.d1.sql import split_statements
from storage.d1_records import D1DatabaseRecord

T = TypeVar("T")

_DATABASES: Final = f"{ACCOUNT}/d1/database"
_DATABASE: Final = f"{_DATABASES}/{{database}}"
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
#: A batch of many statements, each of at most 100,000 bytes.
_QUERY_BODY: Final = 4 << 20
#: What the SQL itself is to blame for: 400 with Cloudflare's code.
_BLAMED: Final = frozenset(
    {
        OperationErrorCode.INVALID_ARGUMENT,
        OperationErrorCode.CONFLICT,
        OperationErrorCode.DENIED,
        OperationErrorCode.LIMIT_EXCEEDED,
        OperationErrorCode.TIMEOUT,
    }
)


class DatabaseCreate(msgspec.Struct):
    name: str
    tenant: str | None = None
    namespace: str | None = None


class Statement(msgspec.Struct):
    sql: str
    params: list[Any] | None = None


class Query(msgspec.Struct):
    sql: str | None = None
    params: list[Any] | None = None
    batch: list[Statement] | None = None


async def create(call: Call) -> Response:
    wanted = await call.json(DatabaseCreate)
    if not _NAME.fullmatch(wanted.name):
        raise ApiError(
            400,
            Code.INVALID_NAME,
            f"name: {wanted.name[:80]!r}; 1 to 64 letters, digits, `-` and `_` are right, not beginning with `-`",
            "name",
        )
    record = call.store.d1_databases.plan(wanted.name, parse_owner(wanted.tenant, wanted.namespace))
    call.store.d1_databases.require_free(wanted.name)
    # The file first: a crash in between leaves an empty file that nothing leads to, and no record without one.
    await call.services.d1.create(record.id)
    try:
        await call.store.d1_databases.create(record)
    except BaseException:
        await call.services.d1.delete(record.id)
        raise
    return success(await _show(call, record, tables=0))


async def list_all(call: Call) -> Response:
    page = parse_page(call.query)
    found, total = await call.store.d1_databases.page(call.query.get("name", ""), page.per_page, page.offset)
    return success([await _show(call, record) for record in found], page.info(len(found), total))


async def get(call: Call) -> Response:
    record = _record(call)
    tables = await _blamed(call.services.d1.tables(record.id, record.owner))
    return success(await _show(call, record, tables=tables))


async def change(call: Call) -> Response:
    """Clients set read replication, which one primary has no use for: taken, and nothing comes of it."""
    await call.body()
    return await get(call)


async def delete(call: Call) -> Response:
    await call.store.d1_databases.delete(_record(call).id, force=call.flag("force"))
    await finish_deletions(call.services)
    return success(None)


async def query(call: Call) -> Response:
    return await _run(call, _as_maps)


async def raw(call: Call) -> Response:
    return await _run(call, _as_arrays)


async def read_dump(call: Call) -> Response:
    record = _record(call)
    dump = await _blamed(
        call.services.d1.export(
            record.id,
            record.owner,
            schema=not call.flag("no_schema"),
            data=not call.flag("no_data"),
            tables=call.request.query_params.getlist("table"),
        )
    )
    return Response(dump, media_type="application/sql", headers={"cache-control": "no-store"})


async def write_dump(call: Call) -> Response:
    record = _record(call)
    executed = await _blamed(call.services.d1.load(record.id, await call.body(), record.owner))
    return success({"num_queries": executed.count, "meta": {"duration": executed.duration_ms}})


async def bookmark(call: Call) -> Response:
    """Of now, which becomes a restore point; or the newest one that is known of `?timestamp=`."""
    record = _record(call)
    at_ms = _timestamp(call)
    number, made_ms = await _blamed(call.services.d1.bookmark(record.id, record.owner, at_ms))
    return success({"bookmark": show_bookmark(number), "timestamp": rfc3339(made_ms)})


async def restore(call: Call) -> Response:
    record = _record(call)
    at_ms, text = _timestamp(call), call.query.get("bookmark")
    if (at_ms is None) == (text is None):
        raise ApiError(
            400, Code.VALIDATION, "bookmark: either `bookmark` or `timestamp` is right", "bookmark"
        )
    wanted = None if text is None else await _blamed(_parse_bookmark(text))
    restored = await _blamed(call.services.d1.restore(record.id, record.owner, wanted, at_ms))
    return success(
        {
            "bookmark": show_bookmark(restored.now),
            "previous_bookmark": show_bookmark(restored.before),
            "restored_bookmark": show_bookmark(restored.to),
            "message": f"the state of {rfc3339(restored.at_ms)} is back",
        }
    )


async def _run(call: Call, show: Any) -> Response:
    record = _record(call)
    wanted = await call.json(Query)
    statements = await _blamed(_statements(wanted))
    results = await _blamed(call.services.d1.batch(record.id, statements, record.owner))
    return success([{"results": show(one), "success": True, "meta": show_meta(one.meta)} for one in results])


async def _statements(wanted: Query) -> list[SqlStatement]:
    """`{sql, params?}` with one statement, or several without params; or `{batch}`."""
    if (wanted.sql is None) == (wanted.batch is None):
        raise ApiError(400, Code.VALIDATION, "sql: either `sql` or `batch` is right", "sql")
    if wanted.batch is not None:
        given = [
            parse_statement(one.sql, one.params, f"batch[{number}].")
            for number, one in enumerate(wanted.batch)
        ]
    else:
        parts = [part.text for part in split_statements(parse_sql(wanted.sql))]
        if wanted.params and len(parts) != 1:
            raise ApiError(
                400, Code.VALIDATION, "params: they go with one statement; send several as `batch`", "params"
            )
        given = [parse_statement(part, wanted.params) for part in parts]
    if not 1 <= len(given) <= BATCH_STATEMENTS:
        raise ApiError(
            400, Code.VALIDATION, f"sql: {len(given)} statements; 1 to {BATCH_STATEMENTS} are right", "sql"
        )
    return given


async def _parse_bookmark(text: str) -> int | None:
    return parse_session(text)


async def _blamed(work: Awaitable[T]) -> T:
    """What `work` answers; an error of the SQL's as Cloudflare's clients know it."""
    try:
        return await work
    except OperationError as error:
        if error.code in _BLAMED:
            raise ApiError(400, Code.D1_SQL, error.message) from error
        if error.code is OperationErrorCode.NOT_FOUND:
            raise ApiError(404, 7404, error.message) from error
        raise


def _record(call: Call) -> D1DatabaseRecord:
    return call.store.d1_databases.get(call.params["database"])


def _timestamp(call: Call) -> int | None:
    """`?timestamp=`, UNIX seconds or RFC 3339 → milliseconds."""
    text = call.query.get("timestamp")
    if text is None:
        return None
    try:
        if text.isascii() and text.isdigit() and len(text) <= 12:
            return int(text) * 1000
        at = datetime.fromisoformat(text)
        return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise ApiError(
            400,
            Code.VALIDATION,
            f"timestamp: {text[:40]!r}; UNIX seconds or a time as 2026-11-24T17:53:17Z is right",
            "timestamp",
        ) from None


async def _show(call: Call, record: D1DatabaseRecord, tables: int | None = None) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "uuid": record.id,
        "name": record.name,
        "version": "production",
        "created_at": rfc3339(record.created_at_ms),
        "file_size": await call.services.d1.file_size(record.id),
        "read_replication": {"mode": "disabled"},
        **owner_fields(record.owner),
    }
    if tables is not None:
        shown["num_tables"] = tables
    return shown


def _as_maps(result: SqlResult) -> list[dict[str, Any]]:
    return [dict(zip(result.columns, map(_json, row), strict=True)) for row in result.rows]


def _as_arrays(result: SqlResult) -> dict[str, Sequence[Any]]:
    return {"columns": result.columns, "rows": [[_json(value) for value in row] for row in result.rows]}


def _json(value: object) -> object:
    """Bytes as elsewhere: an array of numbers."""
    return list(value) if isinstance(value, bytes) else value


ENDPOINTS = [
    Endpoint("POST", _DATABASES, create),
    Endpoint("GET", _DATABASES, list_all),
    Endpoint("GET", _DATABASE, get),
    Endpoint("PUT", _DATABASE, change),
    Endpoint("PATCH", _DATABASE, change),
    Endpoint("DELETE", _DATABASE, delete),
    Endpoint("POST", f"{_DATABASE}/query", query, _QUERY_BODY),
    Endpoint("POST", f"{_DATABASE}/raw", raw, _QUERY_BODY),
    Endpoint("GET", f"{_DATABASE}/dump", read_dump),
    Endpoint("PUT", f"{_DATABASE}/dump", write_dump, IMPORT_BYTES),
    Endpoint("GET", f"{_DATABASE}/time_travel/bookmark", bookmark),
    Endpoint("POST", f"{_DATABASE}/time_travel/restore", restore),
]
