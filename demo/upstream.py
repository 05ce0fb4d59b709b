"""The world outside, as far as the demo needs one: an HTTP server and a DNS server on loopback."""

from __future__ import annotations

import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

#: name → IPv4 address. `metadata.demo` is what an attacker's name would answer: a cloud's metadata service.
NAMES: Final = {"api.demo.example": "127.0.0.1", "metadata.demo.example": "169.254.169.254"}

_A, _IN, _NXDOMAIN = 1, 1, 3


class _Api(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b'{"from": "the upstream", "path": "%s"}\n' % self.path.encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the demo prints what matters."""


def start_api() -> int:
    """An HTTP server in a thread of its own; its port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return int(server.server_port)


def start_dns() -> int:
    """A DNS server that knows NAMES and nothing else; its UDP port."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    threading.Thread(target=_answer_for_ever, args=(sock,), daemon=True).start()
    return int(sock.getsockname()[1])


def _answer_for_ever(sock: socket.socket) -> None:
    while True:
        query, peer = sock.recvfrom(512)
        sock.sendto(answer(query), peer)


def answer(query: bytes) -> bytes:
    """The reply to a query of one question (RFC 1035 §4.1)."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode("ascii"))
        at += 1 + query[at]
    question = query[12 : at + 5]
    (kind,) = struct.unpack_from(">H", query, at + 1)
    address = NAMES.get(".".join(labels).lower())
    found = address is not None and kind == _A
    flags = 0x8180 | (0 if address else _NXDOMAIN)
    reply = query[:2] + struct.pack(">HHHHH", flags, 1, int(found), 0, 0) + question
    if found and address is not None:
        reply += struct.pack(">HHHIH", 0xC00C, _A, _IN, 30, 4) + socket.inet_aton(address)
    return reply
