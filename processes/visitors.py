"""How connections of a listener whose process gives way, or has died, reach the others at the door.

A listener that is closed resets the connections in its queue, though its siblings would have answered them. So
the supervisor, who holds each listener, accepts for it meanwhile, and passes the connections on: through one
SOCK_SEQPACKET pair from which every worker at the door reads. Those that nobody takes wait in the pair for whoever
is ready first, and then in the listener's own queue.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Final

#: Of one listener, in one turn of the loop.
_AT_ONCE: Final = 32
#: After a send that found the pair full, or an accept that found no descriptor left.
_PAUSE_S: Final = 0.02


def visitors_pair() -> tuple[socket.socket, socket.socket]:
    """(near, far): the supervisor passes on, the workers take."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    near.setblocking(False)
    far.setblocking(False)
    return near, far


class Visitors:
    """The far end, inherited: connections that are for whoever takes them first."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def fileno(self) -> int:
        return self._sock.fileno()

    def take(self) -> socket.socket | None:
        """The next; None when nobody waits."""
        try:
            flags = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
            _, descriptors, _, _ = socket.recv_fds(self._sock, 1, 1, flags)
        except (BlockingIOError, InterruptedError):
            return None
        return socket.socket(fileno=descriptors[0]) if descriptors else None


class StandIn:
    """Accepts for a listener while nobody else does. `begin`, `end` and `empty` may come at any time."""

    def __init__(self, listener: socket.socket, near: socket.socket) -> None:
        self._listener = listener
        self._near = near
        self._loop = asyncio.get_running_loop()
        self._reading = False
        self._again: asyncio.TimerHandle | None = None
        self._held: socket.socket | None = None

    def begin(self) -> None:
        # One that never listened would be readable for ever.
        if not self._reading and self._again is None and _listens(self._listener):
            self._reading = True
            self._loop.add_reader(self._listener.fileno(), self._pass_on)

    def end(self) -> None:
        """Its process accepts again."""
        if self._reading:
            self._loop.remove_reader(self._listener.fileno())
            self._reading = False
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if self._held is not None:
            self._held.close()
            self._held = None

    def empty(self) -> None:
        """Pass on who waits in the queue, as many as there is room for: it is about to be closed."""
        if _listens(self._listener):
            while self._next():
                pass
        self.end()

    def _pass_on(self) -> None:
        for _ in range(_AT_ONCE):
            if not self._next():
                break

    def _next(self) -> bool:
        """False when nobody waits, or there is no room."""
        sock = self._held
        self._held = None
        try:
            if sock is None:
                sock, _ = self._listener.accept()
            socket.send_fds(self._near, [b"V"], [sock.fileno()])
        except BlockingIOError:
            if sock is not None:
                self._held = sock
                self._pause()
            return False
        except OSError:
            # A visitor who has left already, or too many descriptors here or on their way.
            if sock is not None:
                sock.close()
            self._pause()
            return False
        sock.close()
        return True

    def _pause(self) -> None:
        if self._reading:
            self._loop.remove_reader(self._listener.fileno())
            self._reading = False
            self._again = self._loop.call_later(_PAUSE_S, self._go_on)

    def _go_on(self) -> None:
        self._again = None
        self.begin()


def _listens(sock: socket.socket) -> bool:
    return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
