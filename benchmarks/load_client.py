"""The load generator, as a child process: `python -m benchmarks.load_client`. One JSON command a line on
stdin, one JSON answer a line on stdout; benchmarks/load.py is the other end.

Bare sockets and epoll, since it must be several times faster than what it measures. An answer is known by
its length, learnt from the first one: the answers of one slice differ in no more than a ray id.
"""

from __future__ import annotations

import base64
import json
import random
import select
import socket
import sys
import time
from collections import deque
from typing import Any

_OK = b"HTTP/1.1 20"
_ANSWER_S = 10.0


class LoadFailed(Exception):
    """An answer was no success, was of another length, or did not come."""


class Target:
    """Kept connections to one port, and the requests that are sent there in turn."""

    def __init__(self, port: int, connections: int, requests: list[bytes]) -> None:
        self.requests = requests
        self.next = 0
        self.size = 0
        self.sockets: dict[int, socket.socket] = {}
        self.poller = select.epoll()
        for _ in range(connections):
            sock = socket.create_connection(("127.0.0.1", port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sockets[sock.fileno()] = sock
            self.poller.register(sock, select.EPOLLIN)
        # The first answer shows what the others have to be like.
        first = next(iter(self.sockets.values()))
        first.sendall(self.take())
        first.settimeout(_ANSWER_S)
        answer = first.recv(65536)
        head, blank, body = answer.partition(b"\r\n\r\n")
        if not answer.startswith(_OK) or not blank:
            raise LoadFailed(f"the first answer is no success: {answer[:200]!r}")
        length = next(
            int(row[15:]) for row in head.lower().split(b"\r\n") if row.startswith(b"content-length:")
        )
        while len(body) < length:
            body += first.recv(65536)
        self.size = len(head) + 4 + length
        for sock in self.sockets.values():
            sock.setblocking(False)

    def take(self) -> bytes:
        request = self.requests[self.next]
        self.next = (self.next + 1) % len(self.requests)
        return request

    def check(self, data: bytes, sock: socket.socket) -> None:
        """`data` is what a first recv gave: take the rest of it, and hold it to the first answer."""
        if not data.startswith(_OK):
            raise LoadFailed(f"an answer is no success: {data[:300]!r}")
        sock.settimeout(_ANSWER_S)
        while len(data) < self.size:
            more = sock.recv(65536)
            if not more:
                raise LoadFailed("a connection was closed in the middle of an answer")
            data += more
        sock.setblocking(False)
        if len(data) != self.size:
            raise LoadFailed(f"an answer has {len(data)} bytes instead of {self.size}: {data[:300]!r}")


def closed_loop(target: Target, seconds: float) -> dict[str, Any]:
    """Every connection sends its next request when its answer is there. Whatever was sent is waited for and counted:
    of a server that makes many answers side by side, what it has begun at the end of a slice is a large part.
    """
    sockets, size, poll, take = target.sockets, target.size, target.poller.poll, target.take
    for sock in sockets.values():
        sock.send(take())
    started = clock = time.monotonic()
    end = started + seconds
    count = 0
    while clock < end:
        ready = poll(_ANSWER_S)
        if not ready:
            raise LoadFailed(f"no answer came for {_ANSWER_S} s")
        for descriptor, _ in ready:
            sock = sockets[descriptor]
            data = sock.recv(65536)
            if len(data) != size or not data.startswith(_OK):
                target.check(data, sock)
            sock.send(take())
        count += len(ready)
        clock = time.monotonic()
    for sock in sockets.values():
        sock.settimeout(_ANSWER_S)
        data = sock.recv(65536)
        if len(data) != size or not data.startswith(_OK):
            target.check(data, sock)
        sock.setblocking(False)
    return {"count": count + len(sockets), "seconds": time.monotonic() - started}


def open_loop(target: Target, rate: float, seconds: float, seed: int) -> dict[str, Any]:
    """Requests come when they are due (a Poisson stream), not when the server is ready; each one's latency
    counts from when it was due, so waiting for a free connection is part of it.
    """
    sockets, size, take = target.sockets, target.size, target.take
    gaps = random.Random(seed)
    # In turns: one that is left alone for longer than the server's keep-alive would be closed.
    idle = deque(sockets.values())
    due_of: dict[int, float] = {}
    waiting: deque[float] = deque()
    latencies: list[float] = []
    started = now = time.monotonic()
    end, due = started + seconds, started
    watched: list[socket.socket] = []
    while True:
        while due <= now and due < end:
            waiting.append(due)
            due += gaps.expovariate(rate)
        while waiting and idle:
            sock = idle.popleft()
            due_of[sock.fileno()] = waiting.popleft()
            sock.send(take())
            watched.append(sock)
        if due >= end and not waiting and not watched:
            break
        if now > end + _ANSWER_S:
            raise LoadFailed(f"{len(waiting) + len(watched)} answers were outstanding after {_ANSWER_S} s")
        # select, since epoll can't wait for less than 1 ms.
        ready, _, _ = select.select(watched, (), (), max(0.0, due - now) if due < end else 1.0)
        now = time.monotonic()
        for sock in ready:
            data = sock.recv(65536)
            if len(data) != size or not data.startswith(_OK):
                target.check(data, sock)
            latencies.append(time.monotonic() - due_of.pop(sock.fileno()))
            watched.remove(sock)
            idle.append(sock)
    return {"latencies_us": [round(value * 1e6) for value in latencies]}


def churn(port: int, requests: list[bytes], seconds: float) -> dict[str, Any]:
    """Neighbours that end and come again: any answer will do, and is counted by its status."""
    statuses: dict[str, int] = {}
    poller = select.poll()
    by_number: dict[int, tuple[socket.socket, bytes]] = {}

    def begin(request: bytes) -> None:
        sock = socket.create_connection(("127.0.0.1", port))
        sock.sendall(request)
        by_number[sock.fileno()] = sock, request
        poller.register(sock, select.POLLIN)

    for request in requests:
        begin(request)
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        for number, _ in poller.poll(left * 1000):
            sock, request = by_number.pop(number)
            answer = sock.recv(65536)
            status = answer[9:12].decode() if answer else "cut"
            statuses[status] = statuses.get(status, 0) + 1
            poller.unregister(number)
            sock.close()
            begin(request)
    for sock, _ in by_number.values():
        sock.close()
    return {"statuses": statuses}


class Noise:
    """Requests that are under way while something else is measured, and are then broken off."""

    def __init__(self, port: int, requests: list[bytes]) -> None:
        self._sockets = []
        for request in requests:
            sock = socket.create_connection(("127.0.0.1", port))
            sock.sendall(request)
            self._sockets.append(sock)

    def end(self) -> None:
        """Raises LoadFailed when one had ended by itself: then less was measured than is said."""
        poller = select.poll()  # select itself knows no descriptor above 1023
        by_number = {sock.fileno(): sock for sock in self._sockets}
        for number in by_number:
            poller.register(number, select.POLLIN)
        answers = [by_number[number].recv(300) for number, _ in poller.poll(0)]
        for sock in self._sockets:
            sock.close()
        if answers:
            raise LoadFailed(f"{len(answers)} of the neighbours ended by themselves: {answers[0]!r}")


def main() -> int:
    targets: dict[str, Target] = {}
    noises: dict[str, Noise] = {}
    for line in sys.stdin:
        command = json.loads(line)
        name = command["name"]
        answer: dict[str, Any] = {}
        try:
            if command["do"] == "connect":
                requests = [base64.b64decode(request) for request in command["requests"]]
                targets[name] = Target(command["port"], command["connections"], requests)
            elif command["do"] == "closed":
                answer = closed_loop(targets[name], command["seconds"])
            elif command["do"] == "open":
                answer = open_loop(targets[name], command["rate"], command["seconds"], command["seed"])
            elif command["do"] == "noise":
                requests = [base64.b64decode(request) for request in command["requests"]]
                noises[name] = Noise(command["port"], requests)
            elif command["do"] == "churn":
                requests = [base64.b64decode(request) for request in command["requests"]]
                answer = churn(command["port"], requests, command["seconds"])
            elif command["do"] == "quiet":
                noises.pop(name).end()
        except (LoadFailed, OSError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
