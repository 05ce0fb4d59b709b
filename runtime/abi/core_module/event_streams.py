"""The streams of one event, by the ids that its guest knows, and the operations `stream.*` on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, cast

from model.errors import OperationError, OperationErrorCode
from model.messages import ByteSource, StreamClosed
from runtime.streams import PIPE_MAX_BYTES, HeldBytes, Pipe, ReadBuffer

#: Of one stream.read: the reply must hold it, beside others.
READ_BYTES: Final = 256 * 1024
STREAMS: Final = 128
#: What an event may have given that lies in the host: unread in streams of its own, or in arguments of pending
#: operations. So it costs about what its memory limit says.
GIVEN_BYTES: Final = 8 << 20


class EventStreams:
    """`given` counts what the event has given and nobody has taken; it is shared with whoever counts the rest."""

    __slots__ = ("_closed", "_given", "_next", "_readers", "_writers")

    def __init__(self, given: HeldBytes) -> None:
        self._given = given
        self._readers: dict[int, ReadBuffer] = {}
        self._writers: dict[int, Pipe] = {}
        self._next = 1
        self._closed = False

    def lend(self, source: ByteSource) -> int:
        """A new id for `source`. Raises OperationError, having closed it, when there is no room."""
        if self._closed:
            source.close()
            raise OperationError(OperationErrorCode.CANCELLED, "the event has ended")
        if len(self._readers) + len(self._writers) >= STREAMS:
            source.close()
            raise OperationError(
                OperationErrorCode.LIMIT_EXCEEDED,
                f"{STREAMS} streams are open in this event; close some with stream.close",
            )
        stream_id = self._next
        self._next += 1
        self._readers[stream_id] = ReadBuffer(source)
        return stream_id

    def give_away(self, stream_id: object) -> ReadBuffer:
        """The stream with this id, which is nobody's here any more."""
        reader = self._readers.get(stream_id) if isinstance(stream_id, int) else None
        if reader is None:
            raise OperationError(
                OperationErrorCode.CLOSED_STREAM,
                f"stream {stream_id!r:.40} is not open for reading in this event, or was given away already",
            )
        if reader.busy:
            raise _busy(stream_id)
        del self._readers[cast(int, stream_id)]
        return reader

    def close(self) -> Sequence[Callable[[], None]]:
        """The event has ended: break off what it was writing. Answers how to close what it was reading."""
        self._closed = True
        if not (self._readers or self._writers):
            return ()
        for writer in self._writers.values():
            writer.fail(StreamClosed("the worker ended before it ended the stream"))
        left = [reader.close for reader in self._readers.values()]
        self._readers.clear()
        self._writers.clear()
        return left

    # -- the operations; each gets its arguments as the guest sent them ------------------------------

    def read(self, args: Sequence[object]) -> object:
        stream_id, size = integers("stream.read", args, "an id and a maximum")
        reader = self._readers.get(stream_id)
        if reader is None:
            raise _no_stream(stream_id)
        if size < 1:
            raise OperationError(OperationErrorCode.INVALID_ARGUMENT, "stream.read: the maximum is 1 or more")
        size = min(size, READ_BYTES)
        here = reader.take(size)
        return here if here is not None else self._read_more(reader, stream_id, size)

    async def _read_more(self, reader: ReadBuffer, stream_id: int, size: int) -> bytes | None:
        if reader.busy:
            raise _busy(stream_id)
        return await reader.read_at_most(size) or None

    def close_one(self, args: Sequence[object]) -> object:
        (stream_id,) = integers("stream.close", args, "an id")
        reader = self._readers.pop(stream_id, None)
        writer = self._writers.pop(stream_id, None)
        if reader is None and writer is None:
            raise _no_stream(stream_id)
        if reader is not None:
            reader.close()
        if writer is not None:
            writer.fail(StreamClosed("the worker closed the stream before its end"))
        return None

    def open(self, _args: Sequence[object]) -> object:
        pipe = Pipe(self._given)
        stream_id = self.lend(pipe)
        self._writers[stream_id] = pipe
        return stream_id

    def write(self, args: Sequence[object]) -> object:
        if len(args) != 2 or not isinstance(args[0], int) or not isinstance(args[1], (bytes, str)):
            raise OperationError(OperationErrorCode.INVALID_ARGUMENT, "stream.write: an id, and bin or str")
        pipe = self._writers.get(args[0])
        if pipe is None:
            raise _no_stream(args[0])
        if pipe.full:
            raise OperationError(
                OperationErrorCode.LIMIT_EXCEEDED,
                f"stream {args[0]}: {PIPE_MAX_BYTES} bytes are unread; wait for the earlier writes first",
            )
        if self._given.now + len(args[1]) > GIVEN_BYTES:
            raise too_much_given()
        # Put at once, so that a `stream.end` in the same call comes after it.
        try:
            return None if pipe.put(as_bytes(args[1])) else pipe.room()
        except StreamClosed as error:
            raise OperationError(OperationErrorCode.CLOSED_STREAM, f"stream.write: {error}") from error

    def end(self, args: Sequence[object]) -> object:
        (stream_id,) = integers("stream.end", args, "an id")
        pipe = self._writers.pop(stream_id, None)
        if pipe is None:
            raise _no_stream(stream_id)
        try:
            pipe.end()
        except StreamClosed as error:
            raise OperationError(OperationErrorCode.CLOSED_STREAM, f"stream.end: {error}") from error
        return None


def integers(name: str, args: Sequence[object], wanted: str) -> list[int]:
    """`args` as the one integer, or the two, that `wanted` names ("an id and a maximum")."""
    count = 2 if " and " in wanted else 1
    if len(args) != count or not all(isinstance(arg, int) and not isinstance(arg, bool) for arg in args):
        raise OperationError(OperationErrorCode.INVALID_ARGUMENT, f"{name}: {wanted}, as integers")
    return cast(list[int], list(args))


def as_bytes(data: bytes | str) -> bytes:
    return data if isinstance(data, bytes) else data.encode()


def too_much_given() -> OperationError:
    return OperationError(
        OperationErrorCode.LIMIT_EXCEEDED,
        f"{GIVEN_BYTES} bytes that this event gave are still unread or under way; wait for some first",
    )


def _busy(stream_id: object) -> OperationError:
    return OperationError(
        OperationErrorCode.INVALID_ARGUMENT,
        f"stream {stream_id!r:.40}: a read of it is under way; one at a time",
    )


def _no_stream(stream_id: object) -> OperationError:
    return OperationError(
        OperationErrorCode.CLOSED_STREAM, f"stream {stream_id!r:.40} is not open in this event"
    )
