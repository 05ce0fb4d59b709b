"""Large KV values of many events at once: bounded together, and given back however an event ends."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from typing import Any

import pytest

from bindings.large_values import LARGE_VALUES
from bindings.memory import MemoryEvent, MemoryKvNamespace
from bindings.operations import OPERATIONS
from model.capabilities import KvEntry
from model.errors import OperationError, OperationErrorCode
from runtime.streams import ReadBuffer

MIB = 1 << 20


class Stalling:
    """An upload of which `size` bytes come, and then nothing more."""

    def __init__(self, size: int) -> None:
        self._left = size
        self.closed = False

    async def read(self) -> bytes:
        if self._left:
            data, self._left = bytes(self._left), 0
            return data
        await asyncio.Event().wait()
        return b""

    def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def room(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(LARGE_VALUES, "most_bytes", 10 * MIB)
    assert LARGE_VALUES.held == 0
    yield
    assert LARGE_VALUES.held == 0


async def run(event: MemoryEvent, namespace: MemoryKvNamespace, name: str, *args: object) -> Any:
    result = OPERATIONS[name].run(event, namespace, args)
    return await result if inspect.isawaitable(result) else result


async def test_reading_more_than_the_process_may_hold_is_shed_until_others_are_done() -> None:
    namespace = MemoryKvNamespace()
    await namespace.put("key", KvEntry(bytes(4 * MIB), None, None))
    events = [MemoryEvent() for _ in range(3)]
    first = await run(events[0], namespace, "kv.get", "key")
    await run(events[1], namespace, "kv.get", "key")
    with pytest.raises(OperationError) as failure:
        await run(events[2], namespace, "kv.get", "key")
    assert failure.value.code is OperationErrorCode.LOAD_SHED
    # A value that is read in part is held whole.
    source = events[0].borrow_stream(first["value_stream"])
    assert await source.read()
    assert LARGE_VALUES.held == 8 * MIB
    size = 0
    while piece := await source.read():
        size += len(piece)
    assert 3 * MIB < size < 4 * MIB
    assert LARGE_VALUES.held == 4 * MIB
    await run(events[2], namespace, "kv.get", "key")
    for event in events:
        event.close()


async def test_uploads_that_stall_on_their_way_into_kv_are_counted_as_they_come() -> None:
    namespace = MemoryKvNamespace()
    stalling = Stalling(8 * MIB)
    event, other = MemoryEvent(), MemoryEvent()
    stream = event.lend_stream(stalling)
    put = asyncio.create_task(run(event, namespace, "kv.put", "a", {"stream": stream}))
    await asyncio.sleep(0)
    assert LARGE_VALUES.held == 8 * MIB
    with pytest.raises(OperationError) as failure:
        await run(other, namespace, "kv.put", "b", {"stream": other.lend_stream(Stalling(4 * MIB))})
    assert failure.value.code is OperationErrorCode.LOAD_SHED
    assert LARGE_VALUES.held == 8 * MIB
    put.cancel()
    with pytest.raises(asyncio.CancelledError):
        await put
    assert stalling.closed
    for each in (event, other):
        each.close()


async def test_reading_a_byte_of_a_large_chunk_copies_none_of_the_rest() -> None:
    """64 reads of a byte in one call took 140 ms of the loop when each copied 25 MiB."""
    chunk = bytes(25 * MIB)

    class Source:
        async def read(self) -> bytes:
            return chunk

        def close(self) -> None: ...

    reader = ReadBuffer(Source())
    assert await reader.read_at_most(1) == b"\0"
    for _ in range(64):
        assert reader.take(1) == b"\0"
        assert reader._left is chunk
    assert len(await reader.read()) == 25 * MIB - 65
