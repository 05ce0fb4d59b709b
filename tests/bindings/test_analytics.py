"""A data point has the bounds that Cloudflare documents for Analytics Engine; whatever else a guest sends is refused in
words that say what would be right, and nothing of it is kept.
"""

from __future__ import annotations

from typing import Any

import pytest

from bindings.analytics import ScriptDataset, parse_point
from bindings.memory import MemoryDataset, MemoryEvent
from bindings.operations import OPERATIONS
from model.analytics import BLOB_BYTES, BLOBS, DOUBLES, INDEX_BYTES, POINTS, DataPoint, parse_dataset_name
from model.errors import OperationError, OperationErrorCode
from model.identity import InvalidName, ScriptName, TenantId
from model.scripts import ScriptRef

INVALID, LIMIT = OperationErrorCode.INVALID_ARGUMENT, OperationErrorCode.LIMIT_EXCEEDED


@pytest.mark.parametrize(
    ("given", "point"),
    [
        ({}, DataPoint("", (), (), 0)),
        ({"indexes": None, "blobs": None, "doubles": None}, DataPoint("", (), (), 0)),
        ({"indexes": [], "blobs": [], "doubles": []}, DataPoint("", (), (), 0)),
        (
            {"indexes": ["customer"], "blobs": ["a", None], "doubles": [1, -2.5]},
            DataPoint("customer", ("a", ""), (1.0, -2.5), 9),
        ),
        ({"indexes": [None]}, DataPoint("", (), (), 0)),
        ({"blobs": ["Grüße".encode()]}, DataPoint("", ("Grüße",), (), 7)),
        ({"indexes": ["x" * INDEX_BYTES]}, DataPoint("x" * INDEX_BYTES, (), (), INDEX_BYTES)),
        ({"indexes": ["ü" * 48]}, DataPoint("ü" * 48, (), (), 96)),
        ({"blobs": ["x"] * BLOBS}, DataPoint("", ("x",) * BLOBS, (), BLOBS)),
        ({"blobs": ["x" * BLOB_BYTES]}, DataPoint("", ("x" * BLOB_BYTES,), (), BLOB_BYTES)),
        ({"doubles": [0] * DOUBLES}, DataPoint("", (), (0.0,) * DOUBLES, 0)),
        ({"doubles": [(1 << 64) - 1, -(1 << 63)]}, DataPoint("", (), (float(1 << 64), float(-(1 << 63))), 0)),
    ],
)  # fmt: skip
def test_a_point_is_taken_as_it_is(given: dict[str, Any], point: DataPoint) -> None:
    assert parse_point(given) == point


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        (None, INVALID, "point: nil"),
        ([], INVALID, "point: an array"),
        ({"index": ["a"]}, INVALID, "'index' is unknown"),
        ({7: ["a"]}, INVALID, "an integer is unknown"),
        ({b"blobs": ["a"]}, INVALID, "bytes is unknown"),
        ({"indexes": "a"}, INVALID, r"point\.indexes: a string; an array"),
        ({"indexes": ["a", "b"]}, LIMIT, r"point\.indexes: 2; at most 1"),
        ({"indexes": ["x" * (INDEX_BYTES + 1)]}, LIMIT, "97 bytes"),
        ({"indexes": ["ü" * 49]}, LIMIT, "98 bytes"),
        ({"indexes": [7]}, INVALID, r"point\.indexes\[0\]: an integer"),
        ({"blobs": ["x"] * (BLOBS + 1)}, LIMIT, r"point\.blobs: 21; at most 20"),
        ({"blobs": ["x" * BLOB_BYTES, "x"]}, LIMIT, "16385 bytes together"),
        ({"blobs": [{}]}, INVALID, r"point\.blobs\[0\]: a map"),
        ({"blobs": [b"\xff"]}, INVALID, "no UTF-8"),
        ({"blobs": ["\ud800"]}, INVALID, "surrogate"),
        ({"doubles": [0] * (DOUBLES + 1)}, LIMIT, r"point\.doubles: 21; at most 20"),
        ({"doubles": ["1"]}, INVALID, r"point\.doubles\[0\]: a string"),
        ({"doubles": [True]}, INVALID, "a boolean"),
        ({"doubles": [None]}, INVALID, "nil"),
        ({"doubles": [float("nan")]}, INVALID, "NaN"),
        ({"doubles": [float("inf")]}, INVALID, "infinities"),
        ({"doubles": [float("-inf")]}, INVALID, "infinities"),
    ],
)
def test_what_is_no_point_is_refused(given: object, code: OperationErrorCode, words: str) -> None:
    with pytest.raises(OperationError, match=words) as caught:
        parse_point(given)
    assert caught.value.code is code


def test_an_event_writes_so_many_points_and_the_next_event_as_many_again() -> None:
    dataset = MemoryDataset()
    write = OPERATIONS["analytics.write"].run
    event = MemoryEvent()
    for _ in range(POINTS):
        # At once: what is no value would be something to wait for.
        assert write(event, dataset, [{"doubles": [1]}]) is None
    with pytest.raises(OperationError, match=f"at most {POINTS} data points") as caught:
        write(event, dataset, [{"doubles": [1]}])
    assert caught.value.code is LIMIT
    assert len(dataset.points) == POINTS
    write(MemoryEvent(), dataset, [{"doubles": [1]}])
    assert len(dataset.points) == POINTS + 1


def test_a_refused_point_is_not_counted() -> None:
    event = MemoryEvent()
    for _ in range(POINTS + 1):
        with pytest.raises(OperationError, match="point"):
            OPERATIONS["analytics.write"].run(event, MemoryDataset(), [7])
    assert OPERATIONS["analytics.write"].run(event, MemoryDataset(), [{}]) is None


@pytest.mark.parametrize("args", [[], [{}, {}]])
def test_takes_one_point(args: list[object]) -> None:
    with pytest.raises(OperationError, match=r"takes \(point\)"):
        OPERATIONS["analytics.write"].run(MemoryEvent(), MemoryDataset(), args)


def test_a_scripts_dataset_says_whose_point_it_is() -> None:
    taken: list[tuple[object, ...]] = []

    class Sink:
        def add(self, *given: object) -> None:
            taken.append(given)

    ref, point = ScriptRef(None, ScriptName("shop")), DataPoint("", (), (), 0)
    ScriptDataset(Sink(), ref, TenantId("acme"), "visits").write(point)
    assert taken == [(ref, "acme", "visits", point)]


@pytest.mark.parametrize("name", ["visits", "_", "Visits_2", "a" * 64, "points", "select"])
def test_a_datasets_name_is_a_tables(name: str) -> None:
    assert parse_dataset_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "2a", "a-b", 'a"b', "a.b", "a b", "ü", "a" * 65, "sqlite_x", "SQLite_schema", "a\n"]
)
def test_what_could_not_stand_for_a_table_is_no_datasets_name(name: str) -> None:
    with pytest.raises(InvalidName, match="dataset"):
        parse_dataset_name(name)
