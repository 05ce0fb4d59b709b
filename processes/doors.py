"""How a connection between two processes begins, where neither may open a Unix socket by name.

A door is a SOCK_SEQPACKET pair that the supervisor makes and holds. Whoever holds the near end knocks: it
makes a socket pair of its own and sends one end through the door. A knock waits while the process behind the
door is away, and is answered by its successor; the connection itself nobody else holds, so that a death at
either end is seen at once.
"""

from __future__ import annotations

import os
import socket
from typing import Final

_NAME_BYTES: Final = 128


class Door:
    """One end of a door, inherited: the near end knocks, the far end answers."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def close(self) -> None:
        """Idempotent. Others' copies of this end stay open."""
        self._sock.close()

    def fileno(self) -> int:
        return self._sock.fileno()

    def knock(self, name: str) -> socket.socket | None:
        """Our end of a new connection to whoever answers; `name` says who knocks. None: try again later (so many
        knocks wait there already, or there is no descriptor left).
        """
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError:
            return None
        with theirs:
            try:
                said = [name.encode()[:_NAME_BYTES]]
                socket.send_fds(self._sock, said, [theirs.fileno()], socket.MSG_DONTWAIT)
            except OSError:
                ours.close()
                return None
        ours.setblocking(False)
        return ours

    def answer(self) -> tuple[str, socket.socket] | None:
        """The next who knocked, and our end of its connection; None when nobody waits.

        What comes without exactly one descriptor of such a socket is dropped.
        """
        while True:
            try:
                flags = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
                name, descriptors, _, _ = socket.recv_fds(self._sock, _NAME_BYTES, 4, flags)
            except (BlockingIOError, InterruptedError):
                return None
            if not name and not descriptors:
                return None  # the supervisor has gone, and with it this process soon
            sock = _stream_of(descriptors) if len(descriptors) == 1 else None
            if sock is not None:
                return name.decode("ascii", "replace"), sock
            for descriptor in descriptors:
                os.close(descriptor)


def _stream_of(descriptors: list[int]) -> socket.socket | None:
    """None when it is no connected stream between processes; then the descriptor is still open."""
    try:
        sock = socket.socket(fileno=descriptors[0])
    except OSError:
        return None
    if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
        sock.detach()
        return None
    sock.setblocking(False)
    return sock


def door_pair() -> tuple[socket.socket, socket.socket]:
    """(near, far): who knocks, and who answers."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    near.setblocking(False)
    far.setblocking(False)
    return near, far
