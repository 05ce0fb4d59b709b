"""Control asks a worker process for what concerns a SQL database: tenants' SQL, and their files, are not opened where
the keys are. Control itself makes empty databases, removes them, and hands dumps over as files of their folder.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from model.errors import OperationError, OperationErrorCode
from model.sql import SqlExecuted, SqlResult, SqlStatement
from processes.channel import ChannelError
from storage.control_records import Owner
from storage.d1 import files
from storage.d1.service import D1Service, Restored
from storage.d1.shared_databases import SharedDatabases
from storage.failures import StorageError, from_os_error

#: A query may wait for its turn, then run.
_QUERY_S: Final = 90.0
_COPY_S: Final = 15 * 60.0

#: (a namespace, what is asked, its time limit) → the answer of a worker process where that namespace's scripts run.
Ask = Callable[[str | None, Mapping[str, Any], float], Awaitable[Any]]


class D1ByChannel:
    """control.services.D1Contents. Raises OperationError, StorageError."""

    def __init__(self, folder: Path, ask: Ask, shared: SharedDatabases | None = None) -> None:
        """`shared`: where other machines find them, too; then a machine makes its file when it is first asked."""
        self._folder = folder
        self._ask = ask
        self._shared = shared

    async def create(self, database_id: str) -> None:
        if self._shared is not None:
            await self._shared.create(database_id)
        else:
            await asyncio.to_thread(files.create, self._folder, database_id)

    async def delete(self, database_id: str) -> None:
        if self._shared is not None:
            await self._shared.delete(database_id)
        await asyncio.to_thread(files.delete, self._folder, database_id)

    async def file_size(self, database_id: str) -> int:
        if self._shared is not None:
            return await self._shared.bytes_of(database_id)
        return await asyncio.to_thread(files.bytes_of, self._folder, database_id)

    async def tables(self, database_id: str, owner: Owner) -> int:
        return int(await self._send("tables", database_id, owner, _QUERY_S))

    async def batch(
        self, database_id: str, statements: Sequence[SqlStatement], owner: Owner
    ) -> list[SqlResult]:
        given = [[one.sql, list(one.params)] for one in statements]
        answer = await self._send("batch", database_id, owner, _QUERY_S, statements=given)
        return msgspec.convert(answer, list[SqlResult])

    async def export(
        self, database_id: str, owner: Owner, *, schema: bool, data: bool, tables: Sequence[str]
    ) -> bytes:
        name = await self._send(
            "export", database_id, owner, _COPY_S, schema=schema, data=data, tables=list(tables)
        )
        path = self._folder / str(name)
        if path.parent != self._folder or path.suffix != ".dump":
            raise OperationError(OperationErrorCode.INTERNAL, "a worker process named another file")
        return await asyncio.to_thread(_take, path)

    async def load(self, database_id: str, dump: bytes, owner: Owner) -> SqlExecuted:
        path = self._folder / f"{database_id}.{secrets.token_hex(8)}.dump"
        await asyncio.to_thread(_put, path, dump)
        try:
            answer = await self._send("load", database_id, owner, _COPY_S, dump=path.name)
        finally:
            await asyncio.to_thread(path.unlink, missing_ok=True)
        return msgspec.convert(answer, SqlExecuted)

    async def bookmark(self, database_id: str, owner: Owner, at_ms: int | None) -> tuple[int, int]:
        answer = await self._send("bookmark", database_id, owner, _COPY_S, at_ms=at_ms)
        return msgspec.convert(answer, tuple[int, int])

    async def restore(
        self, database_id: str, owner: Owner, bookmark: int | None, at_ms: int | None
    ) -> Restored:
        answer = await self._send("restore", database_id, owner, _COPY_S, bookmark=bookmark, at_ms=at_ms)
        return msgspec.convert(answer, Restored)

    async def _send(self, what: str, database_id: str, owner: Owner, timeout_s: float, **more: object) -> Any:
        asked = {"what": what, "id": database_id, "tenant": _threads_of(owner), **more}
        try:
            answer = await self._ask(owner.namespace, asked, timeout_s)
        except ChannelError as error:
            raise OperationError(
                OperationErrorCode.UNAVAILABLE, f"no worker process answered: {error}; try again"
            ) from error
        if not isinstance(answer, Mapping):
            raise OperationError(OperationErrorCode.INTERNAL, "a worker process gave no answer")
        if "refused" in answer:
            raise OperationError(OperationErrorCode(answer["code"]), str(answer["refused"]))
        return answer["ok"]


def answer_control(service: D1Service) -> Callable[[object], Awaitable[object]]:
    """The worker process's side: a handler of its channel's requests `d1`."""

    async def run(payload: object) -> object:
        if not isinstance(payload, Mapping):
            raise ChannelError("d1: a map is expected")
        try:
            return {"ok": msgspec.to_builtins(await _answer(service, payload), builtin_types=(bytes,))}
        except OperationError as error:
            return {"refused": error.message, "code": str(error.code)}
        except StorageError as error:
            return {"refused": error.message, "code": str(OperationErrorCode.UNAVAILABLE)}

    return run


async def _answer(service: D1Service, asked: Mapping[str, Any]) -> object:
    database_id, tenant = str(asked["id"]), str(asked["tenant"])
    match asked["what"]:
        case "tables":
            return await service.tables(database_id)
        case "batch":
            statements = [SqlStatement(sql, tuple(params)) for sql, params in asked["statements"]]
            return await service.batch(database_id, statements, tenant)
        case "export":
            path = await service.export(
                database_id, schema=asked["schema"], data=asked["data"], tables=tuple(asked["tables"])
            )
            return path.name
        case "load":
            return await service.load(database_id, service.store.folder / str(asked["dump"]), tenant)
        case "bookmark":
            return await service.bookmark(database_id, asked["at_ms"])
        case "restore":
            return await service.restore(database_id, asked["bookmark"], asked["at_ms"])
        case other:
            raise ChannelError(f"d1: {other!r:.40} is unknown")


def _threads_of(owner: Owner) -> str:
    """Whose threads it takes: as `bindings.d1` has it, so that the API takes none beside the tenant's."""
    return f"{owner.namespace or ''}/{owner.tenant or ''}"


def _take(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        path.unlink()
    except OSError as error:
        raise from_os_error(error, path) from error
    return data


def _put(path: Path, data: bytes) -> None:
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
    except OSError as error:
        raise from_os_error(error, path) from error
