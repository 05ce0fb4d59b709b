"""A real HTTP server that answers canned envelopes and keeps what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

A = "/client/v4/accounts/default"


@dataclass
class Asked:
    method: str
    #: As sent, still percent-encoded.
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Answer:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    #: "": as any server. "early": without reading the body, then close. "never": close without an answer.
    how: str = ""


def ok(result: Any = None, **info: Any) -> Answer:
    envelope: dict[str, Any] = {"success": True, "errors": [], "messages": [], "result": result}
    if info:
        envelope["result_info"] = info
    return Answer(200, json.dumps(envelope).encode())


def refused(status: int, code: int, message: str) -> Answer:
    errors = [{"code": code, "message": message}]
    envelope = {"success": False, "errors": errors, "messages": [], "result": None}
    return Answer(status, json.dumps(envelope).encode())


class RecordingApi:
    """`answers` maps "METHOD /path" to answers that are given in turn, the last for ever. What is not listed
    is refused with 404 and code 7003.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[Asked] = []
        self.answers: dict[str, list[Answer]] = {}

    def on(self, method: str, path: str, *answers: Answer) -> None:
        full = path if path.startswith(("/client", "/healthz", "/readyz")) else A + path
        self.answers[f"{method} {full}"] = list(answers)

    def answer(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        found = self.answers.get(f"{asked.method} {asked.path}")
        if found is None:
            return refused(404, 7003, f"Could not route to {asked.method} {asked.path}")
        return found.pop(0) if len(found) > 1 else found[0]

    def calls(self) -> list[str]:
        return [f"{asked.method} {asked.path.removeprefix(A)}" for asked in self.asked]

    def only(self, method: str) -> Asked:
        found = [asked for asked in self.asked if asked.method == method]
        assert len(found) == 1, self.calls()
        return found[0]


@contextmanager
def recording_api() -> Iterator[RecordingApi]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            if self.headers.get("transfer-encoding"):
                raise AssertionError("the client must know its length")
            parts = urlsplit(self.path)
            listed = api.answers.get(f"{self.command} {parts.path}")
            how = listed[0].how if listed else ""
            body = b"" if how else self.rfile.read(length)
            self.close_connection = bool(how)
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.command, parts.path, parse_qs(parts.query), headers, body)
            answer = api.answer(asked)
            if how == "never":
                return
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        do_GET = do_PUT = do_POST = do_DELETE = do_PATCH = handle_any

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    api = RecordingApi(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
