"""`compression.*`: a stream of a worker's, compressed or the other way, as a stream that is read.

Nothing is computed before somebody reads, and no more than that; what a small input may become is bounded.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from bindings.arguments import check_count, invalid
from bindings.computing import elsewhere
from model.capabilities import GuestEvent, OperationResult
from model.errors import OperationError
from model.messages import ByteSource, StreamClosed

#: zlib's `wbits` of each.
FORMATS: Final[Mapping[str, int]] = {"gzip": 31, "deflate": 15, "deflate-raw": -15}
#: What one stream may be decompressed to.
OUTPUT_BYTES: Final = 128 * 1024 * 1024
#: Of one step.
_STEP_BYTES: Final = 64 * 1024


class _Compressed:
    """What deflate makes of what comes, a part at a time."""

    def __init__(self, wbits: int) -> None:
        self._coder = zlib.compressobj(wbits=wbits)

    def step(self, data: bytes) -> bytes:
        return self._coder.compress(data)

    @property
    def has_more(self) -> bool:
        return False

    def end(self) -> bytes:
        return self._coder.flush()


class _Decompressed:
    """The other way; at most _STEP_BYTES a step. Raises StreamClosed for what is not in the format."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._coder = zlib.decompressobj(wbits=FORMATS[name])
        self._total = 0

    def step(self, data: bytes) -> bytes:
        if self._coder.eof and data:
            raise StreamClosed(f"there is something behind the end of the {self._name} data")
        try:
            part = self._coder.decompress(self._coder.unconsumed_tail + data, _STEP_BYTES)
        except zlib.error as error:
            raise StreamClosed(f"it is no {self._name} data: {error}") from error
        self._total += len(part)
        if self._total > OUTPUT_BYTES:
            raise StreamClosed(f"it would become more than {OUTPUT_BYTES} bytes")
        if self._coder.unused_data:
            raise StreamClosed(f"there is something behind the end of the {self._name} data")
        return part

    @property
    def has_more(self) -> bool:
        """A step without new data would give something."""
        return bool(self._coder.unconsumed_tail) and not self._coder.eof

    def end(self) -> bytes:
        if not self._coder.eof:
            raise StreamClosed(f"the {self._name} data has no end")
        return b""


class _Coded:
    """A ByteSource of what `coder` makes of another one."""

    def __init__(self, event: GuestEvent, source: ByteSource, coder: _Compressed | _Decompressed) -> None:
        self._event = event
        self._source = source
        self._coder = coder
        self._is_over = False

    async def read(self) -> bytes:
        while not self._is_over:
            part = await self._step(b"") if self._coder.has_more else await self._next()
            if part:
                return part
        return b""

    async def _next(self) -> bytes:
        data = await self._source.read()
        if data:
            return await self._step(data)
        self._is_over = True
        return await self._run(self._coder.end)

    async def _step(self, data: bytes) -> bytes:
        return await self._run(lambda: self._coder.step(data))

    async def _run(self, compute: Callable[[], bytes]) -> bytes:
        try:
            self._event.check_computing()
            return await elsewhere(self._event, compute)
        except OperationError as error:
            raise StreamClosed(str(error)) from error

    def close(self) -> None:
        self._is_over = True
        self._source.close()


def compression_compress(event: GuestEvent, lent: object, args: Sequence[object]) -> OperationResult:
    del lent
    name, source = _arguments("compression.compress", event, args)
    return event.lend_stream(_Coded(event, source, _Compressed(FORMATS[name])))


def compression_decompress(event: GuestEvent, lent: object, args: Sequence[object]) -> OperationResult:
    del lent
    name, source = _arguments("compression.decompress", event, args)
    return event.lend_stream(_Coded(event, source, _Decompressed(name)))


def _arguments(operation: str, event: GuestEvent, args: Sequence[object]) -> tuple[str, ByteSource]:
    check_count(operation, args, 2, 2, "format, stream")
    name = args[0]
    if not isinstance(name, str) or name not in FORMATS:
        invalid(f"format: {', '.join(FORMATS)} are right")
    return name, event.borrow_stream(args[1])
