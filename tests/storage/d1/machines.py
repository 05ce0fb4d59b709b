"""Machines of a test: each with a folder and an identity of its own, one PostgreSQL for all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from model.sql import SqlStatement
from storage.d1.catalog import D1Catalog
from storage.d1.placement import Placement, make_schema
from storage.d1.service import D1Service
from storage.d1.store import D1Store
from storage.postgres.address import DatabaseAddress
from storage.replication.postgres_thread import PostgresThread


class Machine:
    """One worker process of a machine. `close` it."""

    def __init__(self, folder: Path, name: str, address: DatabaseAddress) -> None:
        self.folder = folder / name
        self.folder.mkdir(exist_ok=True)
        self.thread = PostgresThread(address, f"tests {name}")
        make_schema(self.thread)
        self.placement = Placement(self.folder, self.thread, name)
        self.store = D1Store(self.folder, placement=self.placement)
        self.service = D1Service(self.store)
        self.placement.start()

    def make(self, database_id: str) -> None:
        self.thread.call(lambda pg: D1Catalog().create(pg, database_id))

    async def run(self, database_id: str, sql: str, *params: object) -> list[tuple[object, ...]]:
        statement = SqlStatement(sql, params)  # type: ignore[arg-type]
        return (await self.store.query(database_id, statement, "t")).rows

    async def batch(self, database_id: str, statements: Sequence[str]) -> None:
        await self.store.batch(database_id, [SqlStatement(sql) for sql in statements], "t")

    async def close(self) -> None:
        await self.service.close()
