"""`compression.*`: streams of the host's that are computed as they are read."""

from __future__ import annotations

import zlib

import pytest

from bindings import compression
from bindings.memory import MemoryEvent
from bindings.operations import OPERATIONS
from model.errors import OperationError, OperationErrorCode
from model.messages import StreamClosed


class Parts:
    """A ByteSource of what it is given, that counts what was read."""

    def __init__(self, *parts: bytes) -> None:
        self.parts = list(parts)
        self.closed = False

    async def read(self) -> bytes:
        return self.parts.pop(0) if self.parts else b""

    def close(self) -> None:
        self.closed = True


def decompressing(event: MemoryEvent, *parts: bytes) -> int:
    given = event.lend_stream(Parts(*parts))
    stream = OPERATIONS["compression.decompress"].run(event, None, ("gzip", given))
    assert isinstance(stream, int)
    return stream


async def test_a_bomb_is_read_in_small_parts_and_ends_at_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "OUTPUT_BYTES", 1 << 20)
    coder = zlib.compressobj(wbits=31)
    packed = coder.compress(bytes(4 << 20)) + coder.flush()
    event = MemoryEvent()
    stream = event.borrow_stream(decompressing(event, packed))
    sizes: list[int] = []

    async def read_all() -> None:
        while part := await stream.read():
            sizes.append(len(part))

    with pytest.raises(StreamClosed, match="more than 1048576 bytes"):
        await read_all()
    assert sum(sizes) == 1 << 20
    assert max(sizes) <= 64 * 1024


async def test_an_event_without_cpu_time_reads_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    event = MemoryEvent()
    stream = event.borrow_stream(decompressing(event, zlib.compress(b"x", wbits=31)))

    def used_up(_event: MemoryEvent) -> None:
        raise OperationError(OperationErrorCode.LIMIT_EXCEEDED, "over the limit")

    monkeypatch.setattr(MemoryEvent, "check_computing", used_up)
    with pytest.raises(StreamClosed, match="over the limit"):
        await stream.read()


@pytest.mark.parametrize("args", [(), ("gzip",), ("br", 1), (1, 1), ("gzip", "1"), ("gzip", 9)])
def test_wrong_arguments_are_refused(args: tuple[object, ...]) -> None:
    for name in ("compression.compress", "compression.decompress"):
        with pytest.raises(OperationError):
            OPERATIONS[name].run(MemoryEvent(), None, args)
