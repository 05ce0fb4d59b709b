"""The analytics binding: data points of a worker, on their way to whoever queries them. Nobody waits for one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol, cast

from bindings.arguments import check_count, invalid, type_name, utf8_size
from model.analytics import BLOB_BYTES, BLOBS, DOUBLES, INDEX_BYTES, POINTS, DataPoint
from model.capabilities import AnalyticsDataset, GuestEvent, OperationResult
from model.errors import OperationError, OperationErrorCode
from model.identity import TenantId
from model.scripts import ScriptRef

_PARTS: Final = frozenset({"indexes", "blobs", "doubles"})
_INFINITY: Final = float("inf")


class PointSink(Protocol):
    """Takes points at once, whatever becomes of them: cli.analytics_keeping.PointOutbox."""

    def add(self, ref: ScriptRef, tenant: TenantId, dataset: str, point: DataPoint) -> None: ...


class ScriptDataset:
    """An AnalyticsDataset, as one script writes to it."""

    __slots__ = ("_dataset", "_ref", "_sink", "_tenant")

    def __init__(self, sink: PointSink, ref: ScriptRef, tenant: TenantId, dataset: str) -> None:
        self._sink = sink
        self._ref = ref
        self._tenant = tenant
        self._dataset = dataset

    def write(self, point: DataPoint) -> None:
        self._sink.add(self._ref, self._tenant, self._dataset, point)


def analytics_write(event: GuestEvent, lent: object, args: Sequence[object]) -> OperationResult:
    check_count("analytics.write", args, 1, 1, "point")
    point = parse_point(args[0])
    context = event.context
    if context.data_points >= POINTS:
        raise OperationError(
            OperationErrorCode.LIMIT_EXCEEDED, f"one event writes at most {POINTS} data points"
        )
    context.data_points += 1
    cast("AnalyticsDataset", lent).write(point)
    return None


def parse_point(value: object) -> DataPoint:
    """Raises OperationError: invalid_argument, limit_exceeded."""
    if not isinstance(value, dict):
        invalid(f"point: {type_name(value)}; {{indexes?, blobs?, doubles?}} is right")
    for name in value:
        if name not in _PARTS:
            shown = repr(name[:64]) if isinstance(name, str) else type_name(name)
            invalid(f"point: {shown} is unknown; indexes, blobs, doubles are right")
    indexes = _list(value, "indexes", 1)
    blobs = _list(value, "blobs", BLOBS)
    index, size = ("", 0) if not indexes else _text("point.indexes[0]", indexes[0])
    if size > INDEX_BYTES:
        _too_large(f"point.indexes[0]: {size} bytes; at most {INDEX_BYTES} are right")
    texts: list[str] = []
    total = 0
    for number, blob in enumerate(blobs):
        text, taken = _text(f"point.blobs[{number}]", blob)
        texts.append(text)
        total += taken
    if total > BLOB_BYTES:
        _too_large(f"point.blobs: {total} bytes together; at most {BLOB_BYTES} are right")
    doubles = tuple(
        _double(f"point.doubles[{number}]", item)
        for number, item in enumerate(_list(value, "doubles", DOUBLES))
    )
    return DataPoint(index, tuple(texts), doubles, size + total)


def _list(point: dict[object, object], name: str, most: int) -> Sequence[object]:
    value = point.get(name)
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        invalid(f"point.{name}: {type_name(value)}; an array is right")
    if len(value) > most:
        _too_large(f"point.{name}: {len(value)}; at most {most} are right")
    return value


def _text(name: str, value: object) -> tuple[str, int]:
    """With its size in bytes. Nil is an empty one."""
    if value is None:
        return "", 0
    if isinstance(value, bytes):
        try:
            return value.decode(), len(value)
        except UnicodeDecodeError:
            invalid(f"{name}: bytes that are no UTF-8; text is right")
    if not isinstance(value, str):
        invalid(f"{name}: {type_name(value)}; a string is right")
    return value, utf8_size(name, value)


def _double(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        invalid(f"{name}: {type_name(value)}; a number is right")
    number = float(value)
    if not -_INFINITY < number < _INFINITY:
        invalid(f"{name}: NaN and infinities can't be counted with")
    return number


def _too_large(message: str) -> None:
    raise OperationError(OperationErrorCode.LIMIT_EXCEEDED, message)
