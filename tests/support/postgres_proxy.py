"""A TCP proxy in front of PostgreSQL that loses connections at chosen moments."""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import replace
from typing import Final

from storage.postgres.address import DatabaseAddress

#: A simple query, as asyncpg sends it: type, length, text.
_COMMIT: Final = b"Q\x00\x00\x00\x0bCOMMIT\x00"


class PostgresProxy:
    """`address` is where clients go. Each setting is of the connections that are and that will be."""

    def __init__(self, behind: DatabaseAddress) -> None:
        self._behind = behind
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = replace(behind, port=self._listener.getsockname()[1])
        self._guard = threading.Lock()
        self._open: set[socket.socket] = set()
        #: Connections are refused, and those that were are cut.
        self.away = False
        #: The next so many commits are lost: before they reach the server, or before its answer comes back.
        self.lose_before = 0
        self.lose_after = 0
        #: After a lost commit, be away.
        self.then_away = False
        #: Set when a commit was lost.
        self.lost = threading.Event()
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def cut(self) -> None:
        """Every connection that is."""
        with self._guard:
            sockets = list(self._open)
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def go_away(self) -> None:
        self.away = True
        self.cut()

    def come_back(self) -> None:
        self.away = False

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join(5)
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection((self._behind.host, self._behind.port), 5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            with self._guard:
                # Not looked at before: `go_away` cuts what is there, and this one is not until now.
                away = self.away
                if not away:
                    self._open |= {client, server}
            if away:
                client.close()
                server.close()
                continue
            for args in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pump, args=args, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, from_client: bool) -> None:
        try:
            while data := source.recv(1 << 16):
                if from_client and _COMMIT in data and self._loses(source, target, data):
                    break
                target.sendall(data)
        except OSError:
            pass
        finally:
            for one in (source, target):
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            if not from_client:
                with self._guard:
                    self._open -= {source, target}
                source.close()
                target.close()

    def _loses(self, client: socket.socket, server: socket.socket, data: bytes) -> bool:
        with self._guard:
            before, after = self.lose_before > 0, self.lose_before <= 0 and self.lose_after > 0
            self.lose_before -= before
            self.lose_after -= after
        if not before and not after:
            return False
        if self.then_away:
            self.away = True
        if after:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)  # the answer finds nobody
            server.sendall(data)
        self.lost.set()
        if self.then_away:
            self.cut()
        return True
