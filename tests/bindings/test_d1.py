"""What a guest may ask of its SQL database: each limit at both edges, each error by name, each result in its shape.

The operations run over the in-memory database, which tests/contracts holds to the files' behaviour.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bindings.d1 import parse_session, show_bookmark
from bindings.memory import MemoryEvent, MemorySqlDatabase
from bindings.operations import OPERATIONS
from model.errors import OperationError, OperationErrorCode
from runtime.abi.core_module.calls import encode_result

INVALID = OperationErrorCode.INVALID_ARGUMENT
LIMIT = OperationErrorCode.LIMIT_EXCEEDED


class D1:
    def __init__(self) -> None:
        self.database = MemorySqlDatabase()
        self.event = MemoryEvent()

    async def __call__(self, name: str, *args: object) -> Any:
        result = OPERATIONS[f"d1.{name}"].run(self.event, self.database, args)
        return await result if inspect.isawaitable(result) else result


@pytest.fixture
async def d1() -> AsyncIterator[D1]:
    made = D1()
    await made("exec", "CREATE TABLE t (id INTEGER PRIMARY KEY, a); INSERT INTO t (a) VALUES ('x'), ('y')")
    yield made
    made.database.close()


async def test_the_modes_give_their_shapes(d1: D1) -> None:
    sql = "SELECT id, a FROM t ORDER BY id"
    everything = await d1("query", sql)
    assert everything["success"] is True
    assert everything["results"] == [{"id": 1, "a": "x"}, {"id": 2, "a": "y"}]
    assert set(everything["meta"]) == {
        *(
            "served_by",
            "served_by_region",
            "served_by_primary",
            "timings",
            "duration",
            "changes",
            "last_row_id",
        ),
        *("changed_db", "size_after", "rows_read", "rows_written"),
    }
    raw = await d1("query", sql, None, {"mode": "raw"})
    assert (list(raw["columns"]), [list(row) for row in raw["rows"]]) == (["id", "a"], [[1, "x"], [2, "y"]])
    assert await d1("query", sql, [], {"mode": "first"}) == {"id": 1, "a": "x"}
    assert await d1("query", sql, [], {"mode": "first", "column": "a"}) == "x"
    assert await d1("query", "SELECT a FROM t WHERE id = 9", [], {"mode": "first", "column": "a"}) is None
    assert encode_result(1, everything), "it can travel"


async def test_an_unknown_column_is_an_error_with_cloudflares_name(d1: D1) -> None:
    with pytest.raises(OperationError, match=r"^D1_ERROR: D1_COLUMN_NOTFOUND"):
        await d1("query", "SELECT a FROM t", [], {"mode": "first", "column": "b"})


async def test_booleans_are_kept_as_numbers(d1: D1) -> None:
    assert (await d1("query", "SELECT ? AS y, ? AS n", [True, False]))["results"] == [{"y": 1, "n": 0}]


async def test_a_batch_answers_one_result_a_statement(d1: D1) -> None:
    first, second = await d1(
        "batch", [["INSERT INTO t (a) VALUES (?)", ["z"]], ["SELECT count(*) AS n FROM t"]]
    )
    assert first["meta"]["changes"] == 1
    assert second["results"] == [{"n": 3}]
    raw = await d1("batch", [["SELECT 1 AS a"]], {"mode": "raw"})
    assert [list(row) for row in raw[0]["rows"]] == [[1]]


async def test_a_sessions_bookmark_goes_round(d1: D1) -> None:
    wrote = await d1("query", "INSERT INTO t (a) VALUES ('z')", [], {"session": "first-primary"})
    mark = wrote["meta"]["bookmark"]
    read = await d1("query", "SELECT count(*) AS n FROM t", [], {"session": mark})
    assert (read["results"], read["meta"]["bookmark"]) == ([{"n": 3}], mark)
    assert parse_session(show_bookmark(1 << 40)) == 1 << 40
    assert show_bookmark(9) < show_bookmark(10) < show_bookmark(1 << 40)


@pytest.mark.parametrize(
    ("operation", "args", "code", "message"),
    [
        ("query", [], INVALID, "takes"),
        ("query", [7], INVALID, "sql: an integer"),
        ("query", ["SELECT 1\0"], INVALID, "NUL"),
        ("query", ["SELECT 1", "x"], INVALID, "params: a string"),
        ("query", ["SELECT ?", [[1]]], INVALID, r"D1_TYPE_ERROR: params\[0\]: an array"),
        ("query", ["SELECT ?", [{}]], INVALID, "D1_TYPE_ERROR"),
        ("query", ["SELECT ?", [1 << 63]], INVALID, "D1_TYPE_ERROR"),
        ("query", ["SELECT ?", [-(1 << 63) - 1]], INVALID, "D1_TYPE_ERROR"),
        ("query", ["SELECT ?", ["\ud800"]], INVALID, "surrogate"),
        ("query", ["SELECT 1", [None] * 101], LIMIT, "at most 100"),
        ("query", ["SELECT 1" + " " * 99_993], LIMIT, "100001 bytes"),
        ("query", ["SELECT 1", [], {"mode": "many"}], INVALID, "mode"),
        ("query", ["SELECT 1", [], {"mode": "raw", "column": "a"}], INVALID, "column"),
        ("query", ["SELECT 1", [], {"timeout": 1}], INVALID, "timeout"),
        ("query", ["SELECT 1", [], {"session": "last"}], INVALID, "session"),
        ("query", ["SELECT 1", [], {"session": "f" * 16}], INVALID, "later state"),
        ("batch", [[]], INVALID, "1 to 1000"),
        ("batch", [["SELECT 1"]], INVALID, r"statements\[0\]"),
        ("batch", [[["SELECT 1", [], 1]]], INVALID, r"statements\[0\]"),
        ("batch", [[["SELECT 1"]] * 1001], INVALID, "1 to 1000"),
        ("batch", [[["SELECT 1"]], {"mode": "first"}], INVALID, "mode"),
        ("exec", ["SELECT ?", [1]], INVALID, "takes"),
        ("exec", [None], INVALID, "sql: nil"),
    ],
)
async def test_a_wrong_argument_is_refused_by_name(
    d1: D1, operation: str, args: list[object], code: OperationErrorCode, message: str
) -> None:
    with pytest.raises(OperationError, match=message) as caught:
        await d1(operation, *args)
    assert caught.value.code is code


async def test_a_statement_of_100_000_bytes_and_100_parameters_is_taken(d1: D1) -> None:
    assert (await d1("query", "SELECT 1 AS a" + " " * (100_000 - 13)))["results"] == [{"a": 1}]
    marks = ", ".join("?" * 99)
    found = await d1("query", f"SELECT count(*) AS n FROM t WHERE ? OR id IN ({marks})", [1] * 100)  # noqa: S608
    assert found["results"] == [{"n": 2}]
