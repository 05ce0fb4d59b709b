"""What a query costs is charged to whoever asked: the CPU time of the thread, whatever came of it."""

from __future__ import annotations

import uuid
from contextlib import nullcontext
from pathlib import Path

import pytest

from bindings.d1 import StoredSqlDatabase
from bindings.memory import MemoryEvent
from bindings.operations import OPERATIONS
from model.errors import OperationError
from storage.d1 import files
from storage.d1.limits import D1Limits
from storage.d1.store import D1Store

WORK = "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r LIMIT 300000) SELECT sum(x) FROM r"
ENDLESS = "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r) SELECT sum(x) FROM r"


@pytest.mark.parametrize(
    ("operation", "args"),
    [("query", (WORK,)), ("batch", ([[WORK], ["SELECT 1"]],)), ("exec", (WORK,)), ("query", (ENDLESS,))],
)
async def test_the_event_is_charged_with_the_cpu_time_of_its_queries(
    tmp_path: Path, operation: str, args: tuple[object, ...]
) -> None:
    database_id = str(uuid.uuid4())
    files.create(tmp_path, database_id)
    store = D1Store(tmp_path, D1Limits(query_s=2.0))
    event, bystander = MemoryEvent(), MemoryEvent()
    database = StoredSqlDatabase(store, database_id)
    try:
        await OPERATIONS["d1.query"].run(bystander, database, ("SELECT 1",))  # type: ignore[misc]
        with pytest.raises(OperationError) if args == (ENDLESS,) else nullcontext():
            await OPERATIONS[f"d1.{operation}"].run(event, database, args)  # type: ignore[misc]
    finally:
        await store.close()
    # 300,000 rows take some 50 ms; a first SELECT opens the file.
    assert event.charged_ns > 10_000_000
    assert 0 < bystander.charged_ns < event.charged_ns
