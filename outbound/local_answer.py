"""A request that another worker of this host answers: its bodies both ways, counted like those of any other."""

from __future__ import annotations

from model.errors import UpstreamError
from model.messages import Body, ByteSource
from outbound.upload import BodyRefused, Upload


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
    """A worker's response as what UpstreamBody reads."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._ended = False

    @property
    def content(self) -> LocalContent:
        return self

    async def readany(self) -> bytes:
        piece = await self._source.read()
        self._ended = not piece
        return piece

    def at_eof(self) -> bool:
        return self._ended

    def close(self) -> None:
        self._source.close()
