"""A request that another worker of this host answers: its bodies both ways, counted like those of any other."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterable
from typing import Final

from model.errors import UpstreamError
from model.messages import Body, ByteSource, StreamClosed
from outbound.addresses import ALLOWED, AddressClass, AddressRanges, Opened, classify
from outbound.upload import BodyRefused, Upload

_HERE: Final = frozenset({AddressClass.SELF_CONNECTION, AddressClass.THIS_HOST})


class CountedSource:
    """A request's body on its way to another worker: a ByteSource over the guest's own, with Upload's rules."""

    def __init__(self, source: ByteSource, upload: Upload) -> None:
        self._source = source
        self._upload = upload

    async def read(self) -> bytes:
        piece = await self._source.read()
        try:
            self._upload.take(piece)
        except BodyRefused as error:
            self._upload.refused = error
            raise UpstreamError(error.message) from error
        return piece

    def close(self) -> None:
        self._source.close()


def body_for_local(body: Body, upload: Upload) -> Body:
    """Raises BodyRefused."""
    if body is None or isinstance(body, bytes):
        if body:
            upload.take(body)
        return body
    return CountedSource(body, upload)


class LocalContent:
    """A worker's response as what UpstreamBody reads: silence ends a read, and so does `close`."""

    def __init__(self, source: ByteSource, silence_s: float) -> None:
        self._source = source
        self._silence_s = silence_s
        self._reading: asyncio.Task[bytes] | None = None
        self._closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ended = False

    @property
    def content(self) -> LocalContent:
        return self

    async def readany(self) -> bytes:
        if self._reading is None:  # one that was cancelled goes on: its piece is not lost
            self._reading = asyncio.create_task(self._source.read())
        await asyncio.wait(
            (self._reading, self._closed), timeout=self._silence_s, return_when=asyncio.FIRST_COMPLETED
        )
        if self._closed.done():
            raise StreamClosed
        if not self._reading.done():
            raise TimeoutError
        done, self._reading = self._reading, None
        piece = done.result()
        self._ended = not piece
        return piece

    def at_eof(self) -> bool:
        return self._ended

    def close(self) -> None:
        if not self._closed.done():
            self._closed.set_result(None)
        if self._reading is not None:
            self._reading.cancel()
        self._source.close()


def leads_here(candidates: Iterable[str], port: int, ranges: AddressRanges, opened: Opened) -> bool:
    """Whether a name's addresses are this host's own, and what is beside them may be reached. One bad address
    denies the whole answer here, too.
    """
    found = {classify(ipaddress.ip_address(text), port, ranges, opened) for text in candidates}
    return bool(found & _HERE) and found <= _HERE | ALLOWED
