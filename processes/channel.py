"""One end of the talk between two processes: notifications, and requests with a reply.

The supervisor makes the socket pair and holds both ends, so neither process sees the other's death or
restart as an error: what was sent meanwhile waits, and a message cut by a death is dropped. What a peer had
taken and not answered when it died is lost with it; so each says when it starts, and the other asks again what
may be asked twice. All is bounded: a peer that doesn't read costs a full queue and False, never memory or time.
Whatever a peer sends is hostile until checked: a handler gets any MessagePack value.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import select
import socket
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

from processes.framing import (
    MAX_MESSAGE_BYTES,
    PACKET_BYTES,
    Assembler,
    FrameError,
    Message,
    MessageTooLarge,
    MessageType,
    encode,
)

#: What may wait for a peer that doesn't read; room for two of the largest messages.
QUEUE_BYTES: Final = 2 * MAX_MESSAGE_BYTES
QUEUE_MESSAGES: Final = 1024
#: Requests of the peer that are being answered at once.
CONCURRENT_REQUESTS: Final = 256
#: Of the notification that says "I have just started".
_STARTED: Final = "started"
#: Packets read in one turn of the loop, so that a peer that floods leaves time for the rest.
_PACKETS_A_TURN: Final = 32

logger = logging.getLogger(__name__)

RequestHandler = Callable[[Any], Awaitable[object]]
NotificationHandler = Callable[[Any], None]


class ChannelError(Exception):
    """A request got no answer, or a refusal."""


class ChannelFull(ChannelError):
    """The peer has not read for so long that no more is kept for it."""


class ChannelClosed(ChannelError):
    """Nobody holds the other end any more, or this end was closed."""


class RequestTimedOut(ChannelError):
    """The peer is not there, or was too slow. It may have done what was asked."""


class RequestLost(RequestTimedOut):
    """The peer ended before it answered: to wait any longer would be in vain."""


class RequestFailed(ChannelError):
    """The peer's handler refused or failed; the message is its own."""


class Channel:
    """`Channel(sock)`, `on_request`/`on_notification`, `start()` in the loop, …, `close()`.

    `sock` is one end of a SOCK_SEQPACKET pair, owned from here on. One loop, one thread.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._fd = sock.fileno()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._incarnation = secrets.randbits(64)
        self._next_message = 0
        #: Random, so that a reply to a predecessor's request fits none of ours.
        self._next_request = secrets.randbits(62)
        self._assembler = Assembler()
        self._requests: dict[str, RequestHandler] = {}
        self._notifications: dict[str, NotificationHandler] = {}
        self._waiting: dict[int, asyncio.Future[object]] = {}
        #: Of those that wait, what a successor of the peer is asked anew.
        self._repeatable: dict[int, Message] = {}
        self._answering: set[asyncio.Task[None]] = set()
        #: Numbers of the peer's requests that are being answered.
        self._asked_for: set[int] = set()
        self._queue: deque[list[bytes]] = deque()
        self._queued_bytes = 0
        self._closed = False
        #: Called when another incarnation of the peer is heard for the first time, the first one included.
        self.on_peer: Callable[[], None] | None = None
        #: "dropped_full", "dropped_garbage", "dropped_stale", "torn", "handler_failed", "unknown_kind".
        self.counters: Counter[str] = Counter()

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def queued_bytes(self) -> int:
        return self._queued_bytes

    # -- speaking ----------------------------------------------------------------------------------

    def notify(self, kind: str, payload: object = None) -> bool:
        """Send without an answer. Never waits; False, and counted, when the queue is full or closed.

        True means on its way, not read. Raises MessageTooLarge (our bug).
        """
        return self._send(Message(MessageType.NOTIFICATION, 0, kind, payload))

    async def request(
        self, kind: str, payload: object = None, timeout_s: float = 5.0, *, repeatable: bool = False
    ) -> object:
        """The peer's answer. Raises ChannelFull, ChannelClosed, RequestTimedOut, RequestLost, RequestFailed,
        and MessageTooLarge (our bug).

        It may reach the peer's successor, if the peer restarts meanwhile: handlers must bear that. With
        `repeatable` it does for certain: what the peer took along when it died is asked again as soon as its
        successor is there. That may do it twice.
        """
        loop = self._running_loop()
        if self._closed:
            raise ChannelClosed(kind)
        self._next_request += 1
        number = self._next_request
        answer: asyncio.Future[object] = loop.create_future()
        self._waiting[number] = answer
        message = Message(MessageType.REQUEST, number, kind, payload)
        if repeatable:
            self._repeatable[number] = message
        try:
            if not self._send(message):
                raise ChannelFull(f"{kind}: the other process has not read for a while")
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError:
            raise RequestTimedOut(f"{kind}: no answer in {timeout_s} s") from None
        finally:
            self._waiting.pop(number, None)
            self._repeatable.pop(number, None)

    # -- hearing -----------------------------------------------------------------------------------

    def on_request(self, kind: str, handler: RequestHandler) -> None:
        """`handler` answers a value that MessagePack can hold, or raises: ChannelError's message is shown to
        the peer, any other exception is a bug and becomes "failed".
        """
        self._requests[kind] = handler

    def on_notification(self, kind: str, handler: NotificationHandler) -> None:
        self._notifications[kind] = handler

    def start(self) -> None:
        """Attach to the running loop. What came earlier is handled now."""
        self._loop = asyncio.get_running_loop()
        self.notify(_STARTED)
        self._loop.add_reader(self._fd, self._readable)
        if self._queue:
            self._loop.add_writer(self._fd, self._writable)

    def peer_ended(self) -> None:
        """For who hears of the peer's end elsewhere, since the channel itself can't: requests that wait raise
        RequestLost. One that the peer had not read yet is done by its successor all the same.
        """
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(RequestLost("the other process ended, and may have done it or not"))

    def close(self) -> None:
        """Let go of this end; requests that wait raise ChannelClosed. Idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._loop is not None:
            self._loop.remove_reader(self._fd)
            self._loop.remove_writer(self._fd)
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(ChannelClosed("the channel was closed"))
        for task in self._answering:
            task.cancel()
        self._queue.clear()
        self._queued_bytes = 0
        self._sock.close()

    # -- inside ------------------------------------------------------------------------------------

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise RuntimeError("Channel.start() comes before a request")
        return self._loop

    def _send(self, message: Message) -> bool:
        if self._closed:
            self.counters["dropped_full"] += 1
            return False
        packets = encode(message, self._incarnation, self._next_message)
        size = sum(map(len, packets))
        if len(self._queue) >= QUEUE_MESSAGES or self._queued_bytes + size > QUEUE_BYTES:
            self.counters["dropped_full"] += 1
            return False
        self._next_message += 1
        waiting = bool(self._queue)
        packets.reverse()  # so that the next one is taken from the end
        self._queue.append(packets)
        self._queued_bytes += size
        if not waiting:
            self._flush()
            if self._queue and self._loop is not None:
                self._loop.add_writer(self._fd, self._writable)
        return True

    def _flush(self) -> None:
        while self._queue:
            packets = self._queue[0]
            try:
                self._sock.send(packets[-1])
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                # EPIPE, ECONNRESET: the last holder of the other end has gone, which is the supervisor.
                self.close()
                return
            self._queued_bytes -= len(packets.pop())
            if not packets:
                self._queue.popleft()

    def _writable(self) -> None:
        self._flush()
        if not self._queue and not self._closed:
            self._running_loop().remove_writer(self._fd)

    def _readable(self) -> None:
        for _ in range(_PACKETS_A_TURN):
            if self._closed:
                return
            try:
                packet = self._sock.recv(PACKET_BYTES + 1)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self.close()
                return
            if not packet and self._peer_hung_up():
                self.close()
                return
            self._heard(packet)

    def _peer_hung_up(self) -> bool:
        """An empty packet, which a hostile peer may send, reads like the end of the stream."""
        poll = select.poll()
        poll.register(self._fd, select.POLLRDHUP)
        return any(events & (select.POLLHUP | select.POLLRDHUP) for _, events in poll.poll(0))

    def _heard(self, packet: bytes) -> None:
        assembler = self._assembler
        before = assembler.incarnation
        try:
            message = assembler.feed(packet)
        except FrameError:
            self.counters["dropped_garbage"] += 1
            return
        finally:
            self.counters["torn"] = assembler.torn
            if assembler.incarnation != before and self.on_peer is not None:
                self._guarded(self.on_peer)
        if message is None:
            return
        if message.type is MessageType.NOTIFICATION:
            handler = self._notifications.get(message.kind)
            if message.kind == _STARTED:
                self._ask_again()
            elif handler is None:
                self.counters["unknown_kind"] += 1
            else:
                self._guarded(handler, message.payload)
        elif message.type is MessageType.REQUEST:
            self._asked(message)
        else:
            self._answered(message)

    def _guarded(self, handler: Callable[..., None], *args: object) -> None:
        try:
            handler(*args)
        except Exception:  # a bug in one handler, or what a hostile peer found, must not end the channel
            self.counters["handler_failed"] += 1
            logger.exception("a channel's handler failed")

    def _answered(self, message: Message) -> None:
        answer = self._waiting.get(message.id)
        if answer is None or answer.done():
            self.counters["dropped_stale"] += 1
        elif message.type is MessageType.REPLY:
            answer.set_result(message.payload)
        else:
            answer.set_exception(RequestFailed(str(message.payload)[:1000]))

    def _ask_again(self) -> None:
        """Of a peer that has just started. What it has not read yet comes twice then, and is answered once."""
        for message in list(self._repeatable.values()):
            self._send(message)

    def _asked(self, message: Message) -> None:
        handler = self._requests.get(message.kind)
        if message.id in self._asked_for:
            return
        if handler is None:
            self.counters["unknown_kind"] += 1
            self._fail(message, f"{message.kind[:80]}: no such request here")
        elif len(self._answering) >= CONCURRENT_REQUESTS:
            self._fail(message, f"{message.kind}: more than {CONCURRENT_REQUESTS} requests at once")
        else:
            task = self._running_loop().create_task(self._answer(handler, message))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
            self._asked_for.add(message.id)

    async def _answer(self, handler: RequestHandler, message: Message) -> None:
        try:
            payload = await handler(message.payload)
            self._send(Message(MessageType.REPLY, message.id, message.kind, payload))
        except ChannelError as error:
            self._fail(message, str(error))
        except MessageTooLarge as error:
            self._fail(message, str(error))
        except Exception:  # a bug in one handler must not end the channel, nor let the peer wait
            self.counters["handler_failed"] += 1
            logger.exception("the handler of %r failed", message.kind)
            self._fail(message, f"{message.kind}: failed")
        finally:
            self._asked_for.discard(message.id)

    def _fail(self, message: Message, text: str) -> None:
        self._send(Message(MessageType.FAILURE, message.id, message.kind[:80], text))


def channel_pair() -> tuple[socket.socket, socket.socket]:
    """Both ends, for the supervisor to hold and to pass on."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
