"""A pipe holds back its writer, loses no byte, and tells each side how the other ended."""

from __future__ import annotations

import asyncio

import pytest

from model.messages import StreamClosed
from runtime.streams import PIPE_BYTES, PIPE_MAX_BYTES, Pipe, ReadBuffer


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_what_is_written_is_read_in_order_and_then_the_end() -> None:
    pipe = Pipe()
    for chunk in (b"a", b"", b"bc"):
        await pipe.write(chunk)
    pipe.end()
    assert [await pipe.read() for _ in range(4)] == [b"a", b"bc", b"", b""]


@pytest.mark.parametrize(("size", "waits"), [(PIPE_BYTES, False), (PIPE_BYTES + 1, True)])
async def test_writer_waits_while_the_pipe_is_over_its_size(size: int, waits: bool) -> None:
    pipe = Pipe()
    writing = asyncio.create_task(pipe.write(b"x" * size))
    await turns()
    assert writing.done() is not waits
    assert await pipe.read() == b"x" * size
    await writing


async def test_all_writers_of_a_full_pipe_are_woken() -> None:
    pipe = Pipe()
    writing = [asyncio.create_task(pipe.write(bytes([n]) * PIPE_BYTES)) for n in range(4)]
    await turns()
    assert [task.done() for task in writing] == [True, False, False, False]
    assert b"".join([await pipe.read() for _ in range(4)]) == b"".join(
        bytes([n]) * PIPE_BYTES for n in range(4)
    )
    await asyncio.wait_for(asyncio.gather(*writing), 60)


async def test_pipe_is_full_for_who_does_not_wait() -> None:
    pipe = Pipe()
    assert pipe.put(b"x" * PIPE_BYTES)
    assert not pipe.put(b"x")
    assert not pipe.full
    pipe.put(b"x" * (PIPE_MAX_BYTES - PIPE_BYTES - 1))
    assert pipe.full


async def test_reader_waits_for_a_writer() -> None:
    pipe = Pipe()
    reading = asyncio.create_task(pipe.read())
    await turns()
    assert not reading.done()
    await pipe.write(b"now")
    assert await reading == b"now"


async def test_cancelled_read_loses_nothing() -> None:
    pipe = Pipe()
    reading = asyncio.create_task(pipe.read())
    await turns()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await pipe.write(b"kept")
    assert await pipe.read() == b"kept"


async def test_reader_who_closes_fails_the_writers_that_wait_and_those_to_come() -> None:
    pipe = Pipe()
    writing = [asyncio.create_task(pipe.write(b"x" * (PIPE_BYTES + 1))) for _ in range(2)]
    await turns()
    pipe.close()
    for task in writing:
        with pytest.raises(StreamClosed, match="reader closed"):
            await task
    with pytest.raises(StreamClosed):
        await pipe.write(b"x")
    with pytest.raises(StreamClosed):
        pipe.end()
    assert await pipe.read() == b""


async def test_close_wakes_a_reader() -> None:
    pipe = Pipe()
    reading = asyncio.create_task(pipe.read())
    await turns()
    pipe.close()
    assert await reading == b""


async def test_failure_comes_after_what_was_written_and_stays() -> None:
    pipe = Pipe()
    await pipe.write(b"half")
    pipe.fail(StreamClosed("gone"))
    assert await pipe.read() == b"half"
    for _ in range(2):
        with pytest.raises(StreamClosed, match="gone"):
            await pipe.read()


async def test_failure_after_the_end_changes_nothing() -> None:
    pipe = Pipe()
    pipe.end()
    pipe.fail(StreamClosed("late"))
    assert await pipe.read() == b""
    assert pipe.ended


async def test_nothing_is_written_after_the_end() -> None:
    pipe = Pipe()
    pipe.end()
    with pytest.raises(StreamClosed, match="ended already"):
        await pipe.write(b"x")
    with pytest.raises(StreamClosed, match="ended already"):
        pipe.end()


async def test_buffer_gives_pieces_of_the_wanted_size() -> None:
    pipe = Pipe()
    await pipe.write(b"abcdef")
    await pipe.write(b"gh")
    pipe.end()
    buffer = ReadBuffer(pipe)
    assert buffer.take(2) is None
    assert await buffer.read_at_most(2) == b"ab"
    assert buffer.take(1) == b"c"
    assert await buffer.read_at_most(100) == b"def"
    assert await buffer.read_at_most(1) == b"g"
    assert await buffer.read() == b"h"
    assert await buffer.read() == b""
    assert await buffer.read_at_most(1) == b""


async def test_buffer_is_busy_while_somebody_waits_and_free_after_a_cancel() -> None:
    buffer = ReadBuffer(Pipe())
    reading = asyncio.create_task(buffer.read_at_most(1))
    await turns()
    assert buffer.busy
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert not buffer.busy


async def test_buffer_closes_its_source_once() -> None:
    class Source:
        closed = 0

        async def read(self) -> bytes:
            return b"abc"

        def close(self) -> None:
            self.closed += 1

    source = Source()
    buffer = ReadBuffer(source)
    await buffer.read_at_most(1)
    buffer.close()
    buffer.close()
    assert source.closed == 1
    assert buffer.take(1) is None
