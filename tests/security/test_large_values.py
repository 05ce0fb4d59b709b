"""Large KV values of many events at once: bounded together, and given back however an event ends."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from bindings.kv import StoredKvNamespace
from bindings.large_values import LARGE_VALUES
from bindings.memory import MemoryEvent, MemoryKvNamespace
from bindings.operations import OPERATIONS
from model.capabilities import KvEntry, KvNamespace
from model.errors import OperationError, OperationErrorCode, UpstreamError
from runtime.streams import ReadBuffer
from storage.database import Database
from storage.kv_store import KvStore, kv_migrations
from storage.scratch import SCRATCH
from tests.acceptance.platform import peak_bytes, reset_peak, resident_bytes
from tests.support.postgres_stores import PgMachine

MIB = 1 << 20
#: What a process may need for any number of values of 25 MiB on their way (docs/kv.md): those that SQLite's threads
#: hold, and some pieces for each stream. 50 of them are 1,250 MiB.
STATED = 320 * MIB
AT_ONCE = 50


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


class Sending:
    """An upload of `size` bytes in pieces, of which each upload has its own; then `error`, if there is one."""

    def __init__(
        self, letter: int, size: int, error: Exception | None = None, together: Together | None = None
    ) -> None:
        self._piece = bytes([letter]) * (256 << 10)
        self._left = size
        self._error = error
        self._together = together

    async def read(self) -> bytes:
        await asyncio.sleep(0)
        if not self._left and self._together is not None:
            await self._together.wait()
        if not self._left and self._error is not None:
            raise self._error
        data = self._piece[: self._left]
        self._left -= len(data)
        return data

    def close(self) -> None: ...


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    assert (LARGE_VALUES.held, SCRATCH.held, SCRATCH.files) == (0, 0, 0)
    yield
    assert (LARGE_VALUES.held, SCRATCH.held, SCRATCH.files) == (0, 0, 0)


@pytest.fixture
def little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LARGE_VALUES, "most_bytes", 10 * MIB)
    monkeypatch.setattr(SCRATCH, "most_bytes", 10 * MIB)


@pytest.fixture(params=["sqlite", "postgres"])
async def namespace(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[KvNamespace]:
    if request.param == "sqlite":
        database = Database.open(tmp_path / "kv.db", kv_migrations())
        yield StoredKvNamespace(KvStore(database), "a" * 32)
        database.close()
    else:
        async with PgMachine(request.getfixturevalue("stores_address")) as machine:
            yield StoredKvNamespace(machine.kv, uuid.uuid4().hex)


async def run(event: MemoryEvent, namespace: KvNamespace, name: str, *args: object) -> Any:
    result = OPERATIONS[name].run(event, namespace, args)
    return await result if inspect.isawaitable(result) else result


@pytest.mark.usefixtures("little_room")
async def test_reading_more_than_the_process_may_keep_is_shed_until_others_are_done() -> None:
    namespace = MemoryKvNamespace()
    await namespace.put("key", KvEntry(bytes(4 * MIB), None, None))
    events = [MemoryEvent() for _ in range(3)]
    first = await run(events[0], namespace, "kv.get", "key")
    await run(events[1], namespace, "kv.get", "key")
    with pytest.raises(OperationError) as failure:
        await run(events[2], namespace, "kv.get", "key")
    assert failure.value.code is OperationErrorCode.LOAD_SHED
    # A value that is read in part is kept whole.
    source = events[0].borrow_stream(first["value_stream"])
    assert await source.read()
    assert SCRATCH.held == 8 * MIB
    size = 0
    while piece := await source.read():
        size += len(piece)
    assert 3 * MIB < size < 4 * MIB
    assert SCRATCH.held == 4 * MIB
    await run(events[2], namespace, "kv.get", "key")
    for event in events:
        event.close()


@pytest.mark.usefixtures("little_room")
@pytest.mark.parametrize(("size", "memory", "file"), [(MIB, MIB, 0), (8 * MIB, 0, 8 * MIB)])
async def test_uploads_that_stall_on_their_way_into_kv_are_counted_as_they_come(
    size: int, memory: int, file: int
) -> None:
    namespace = MemoryKvNamespace()
    stalling = Stalling(size)
    event = MemoryEvent()
    put = asyncio.create_task(run(event, namespace, "kv.put", "a", {"stream": event.lend_stream(stalling)}))
    async with asyncio.timeout(60):
        while (LARGE_VALUES.held, SCRATCH.held) != (memory, file):  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.001)
    put.cancel()
    with pytest.raises(asyncio.CancelledError):
        await put
    assert stalling.closed
    event.close()


@pytest.mark.usefixtures("little_room")
async def test_upload_for_which_there_is_no_room_is_shed() -> None:
    namespace, event, other = MemoryKvNamespace(), MemoryEvent(), MemoryEvent()
    put = asyncio.create_task(
        run(event, namespace, "kv.put", "a", {"stream": event.lend_stream(Stalling(8 * MIB))})
    )
    async with asyncio.timeout(60):
        while SCRATCH.held != 8 * MIB:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.001)
    with pytest.raises(OperationError) as failure:
        await run(other, namespace, "kv.put", "b", {"stream": other.lend_stream(Stalling(4 * MIB))})
    assert failure.value.code is OperationErrorCode.LOAD_SHED
    assert SCRATCH.held == 8 * MIB
    put.cancel()
    await asyncio.gather(put, return_exceptions=True)
    for each in (event, other):
        each.close()


async def test_upload_that_breaks_off_leaves_nothing(namespace: KvNamespace) -> None:
    await namespace.put("key", KvEntry(b"before"))
    event = MemoryEvent()
    stream = event.lend_stream(Sending(1, 24 * MIB, UpstreamError("reset")))
    with pytest.raises(OperationError) as failure:
        await run(event, namespace, "kv.put", "key", {"stream": stream})
    assert failure.value.code is OperationErrorCode.UPSTREAM_FAILED
    with pytest.raises(OperationError) as failure:
        await run(event, namespace, "kv.put", "key", {"stream": event.lend_stream(Sending(1, 26 * MIB))})
    assert failure.value.code is OperationErrorCode.LIMIT_EXCEEDED
    assert (await run(event, namespace, "kv.get", "key"))["value"] == b"before"
    event.close()


class Together:
    """Nobody goes on before all are here."""

    def __init__(self, count: int) -> None:
        self._missing = count
        self._all = asyncio.Event()

    async def wait(self) -> None:
        self._missing -= 1
        if not self._missing:
            self._all.set()
        async with asyncio.timeout(100):
            await self._all.wait()


@pytest.mark.timeout(600)  # a gigabyte each way
async def test_fifty_values_of_25_mib_at_once_need_the_stated_memory_and_no_more(
    namespace: KvNamespace,
) -> None:
    """They were held whole: 256 MiB of them, and whoever came beyond that was refused."""
    size, me = 25 * MIB, os.getpid()

    async def write(number: int, together: Together) -> None:
        """All come to their end at once; of some the sender then leaves, so that the disk has less to do."""
        event = MemoryEvent()
        error = None if number < 3 else UpstreamError("reset")
        stream = event.lend_stream(Sending(number, size, error, together))
        put = run(event, namespace, "kv.put", f"key-{number % 3}", {"stream": stream})
        if error is None:
            await put
        else:
            with pytest.raises(OperationError, match="reset"):
                await put
        event.close()

    async def read(number: int, together: Together) -> None:
        event = MemoryEvent()
        found = await run(event, namespace, "kv.get", f"key-{number % 3}")
        assert found["size"] == size
        source = event.borrow_stream(found["value_stream"])
        first = await source.read()
        await together.wait()
        total = len(first)
        while piece := await source.read():
            assert piece[:1] == piece[-1:] == first[:1]
            total += len(piece)
        assert total == size
        event.close()

    for work in (write, read):
        gc.collect()
        together = Together(AT_ONCE)
        before = resident_bytes(me)
        reset_peak(me)
        await asyncio.gather(*(work(number, together) for number in range(AT_ONCE)))
        assert peak_bytes(me) - before < STATED, work.__name__


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
