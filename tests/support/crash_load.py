"""Loopback clients that write to a host without pause, and keep account of what they were told.

Each lane has names of its own. When a change gets no answer, or another than "done", its name is given up: it may have
happened, or still happen, and nothing else is to hide that.
"""

from __future__ import annotations

import http.client
import json
import secrets
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from hashlib import sha256
from typing import Any, Final

from tests.acceptance.platform import SAMPLES, Platform
from tests.support.ledger import Ledger
from tests.support.survey import version_state

ACCOUNT: Final = "/client/v4/accounts/default"
SCRIPTS: Final = f"{ACCOUNT}/workers/dispatch/namespaces/tests/scripts"
ROUTES: Final = f"{ACCOUNT}/workers/dispatch/routes"
#: What is deployed again and again: whichever it is, it answers a visitor.
MODULES: Final = ("hello", "hello_zig", "big_download")
_TIMEOUT_S: Final = 60.0


class Unanswered(Exception):
    """Something else than "done": whether it happened is not known."""


class CrashLoad:
    """`prepare` a fresh host, then `write_until` it was killed, as often as needed."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self.ledger = Ledger()
        self.unanswered = 0
        self.names: dict[str, str] = {}
        self._modules = {name: (SAMPLES / name / f"{name}.wasm").read_bytes() for name in MODULES}
        self._local = threading.local()
        self._lanes: tuple[Callable[[int], None], ...] = (
            self._put_note,
            self._put_note,
            self._put_value,
            self._send,
            self._send_by_api,
            self._sign,
            self._sign,
            self._insert,
            self._deploy,
            self._deploy,
        )
        self._generation = [0] * len(self._lanes)
        self._number = 0

    def prepare(self) -> None:
        """Workers, and what they write to. `names` has the ids of it."""
        self.api("POST", f"{ACCOUNT}/workers/dispatch/namespaces", {"name": "tests"})
        for title in ("notes", "seen"):
            made = self.api("POST", f"{ACCOUNT}/storage/kv/namespaces", {"title": title})
            self.names[title] = str(made["id"])
        queue = self.api("POST", f"{ACCOUNT}/queues", {"queue_name": "orders"})
        # A message whose deliverers die again and again is used up in the end: it must not be dropped then.
        self.api("POST", f"{ACCOUNT}/queues", {"queue_name": "returned"})
        database = self.api("POST", f"{ACCOUNT}/d1/database", {"name": "guests"})
        self.names |= {"orders": str(queue["queue_id"]), "guests": str(database["uuid"])}
        kv = {"type": "kv_namespace"}
        self._lend("notes", "notes_zig", kv | {"name": "NOTES", "namespace_id": self.names["notes"]})
        self._lend("sender", "queue_producer", {"type": "queue", "name": "QUEUE", "queue_name": "orders"})
        self._lend("taker", "queue_consumer", kv | {"name": "SEEN", "namespace_id": self.names["seen"]})
        self._lend("book", "guest_book", {"type": "d1", "name": "DB", "id": self.names["guests"]})
        consumer = {"type": "worker", "script_name": "taker", "dispatch_namespace": "tests",
                    "dead_letter_queue": "returned"}  # fmt: skip
        self.api("POST", f"{ACCOUNT}/queues/{self.names['orders']}/consumers", consumer)
        # Who signs first makes the table: before two of them meet.
        self._visit("book", "POST", "/?name=first", b"-", 201)
        self._hang_up()

    def _lend(self, script: str, sample: str, binding: Mapping[str, str]) -> None:
        """A sample worker on the hostname `script`.localhost, with something to write to."""
        self._put_script(script, (SAMPLES / sample / f"{sample}.wasm").read_bytes(), bindings=[binding])
        self._put_route(script)

    def _put_script(self, name: str, module: bytes, **metadata: object) -> None:
        body, content_type = _upload({"main_module": "main.wasm", **metadata}, module)
        self.api("PUT", f"{SCRIPTS}/{name}", body, {"Content-Type": content_type})

    def _put_route(self, script: str) -> None:
        target = {"namespace": "tests", "script": script}
        self.api("POST", ROUTES, {"hostname": f"{script}.localhost", "target": target})

    def write_until(self, killed: Callable[[], None]) -> None:
        """All lanes at once, until `killed` has returned and each has finished what it was at."""
        stop = threading.Event()
        with ThreadPoolExecutor(len(self._lanes)) as pool:
            lanes = [pool.submit(self._lane, number, stop) for number in range(len(self._lanes))]
            try:
                killed()
            finally:
                stop.set()
            wait(lanes)
        for lane in lanes:
            lane.result()

    def _lane(self, lane: int, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                self._lanes[lane](lane)
            except (OSError, http.client.HTTPException, Unanswered):
                self.unanswered += 1
                self._generation[lane] += 1
                stop.wait(0.02)
        self._hang_up()

    def _hang_up(self) -> None:
        """This thread's connections."""
        for connection in vars(self._local).values():
            connection.close()
        vars(self._local).clear()

    # -- what the lanes do -----------------------------------------------------------------------------

    def _put_note(self, lane: int) -> None:
        name, version = self._fresh(lane, slots=4), self._version()
        if int(version) % 5 == 0:
            with self._change(f"kv:{name}", None):
                self._visit("notes", "DELETE", f"/{name}", None, 200)
        else:
            with self._change(f"kv:{name}", version):
                self._visit("notes", "PUT", f"/{name}", f"{version}:{'n' * 2_000}".encode(), 201)

    def _put_value(self, lane: int) -> None:
        name, version = self._fresh(lane, slots=4), self._version()
        with self._change(f"kv:{name}", version):
            path = f"{ACCOUNT}/storage/kv/namespaces/{self.names['notes']}/values/{name}"
            self.api("PUT", path, f"{version}:".encode(), {"Content-Type": "application/octet-stream"})

    def _send(self, lane: int) -> None:
        body = f"worker-{self._version()}"
        with self._change(f"queue:{body}", "there"):
            self._visit("sender", "POST", "/", body.encode(), 202)

    def _send_by_api(self, lane: int) -> None:
        body = f"api-{self._version()}"
        with self._change(f"queue:{body}", "there"):
            self.api("POST", f"{ACCOUNT}/queues/{self.names['orders']}/messages",
                     {"body": body, "content_type": "text"})  # fmt: skip

    def _sign(self, lane: int) -> None:
        entry = f"signed-{self._version()}"
        with self._change(f"entry:{entry}", "there"):
            self._visit("book", "POST", f"/?name=lane{lane}", entry.encode(), 201)

    def _insert(self, lane: int) -> None:
        entry = f"inserted-{self._version()}"
        with self._change(f"entry:{entry}", "there"):
            sql = "INSERT INTO entries (name, entry) VALUES ('api', ?)"
            self.api("POST", f"{ACCOUNT}/d1/database/{self.names['guests']}/query",
                     {"sql": sql, "params": [entry]})  # fmt: skip

    def _deploy(self, lane: int) -> None:
        """A new version; at first a route as well."""
        name, version = f"crash-{self._fresh(lane, slots=3)}", self._version()
        module = self._modules[MODULES[int(version) % len(MODULES)]]
        tags = [f"v{version}"]
        with self._change(f"script:{name}", version_state(tags, sha256(module).hexdigest())):
            self._put_script(name, module, tags=tags)
        if self.ledger.acknowledged(f"route:{name}.localhost") is None:
            with self._change(f"route:{name}.localhost", name):
                self._put_route(name)

    # -- around ----------------------------------------------------------------------------------------

    def _fresh(self, lane: int, slots: int) -> str:
        """One of a few names of this lane, none of which is in doubt."""
        return f"{lane}-{self._generation[lane]}-{secrets.randbelow(slots)}"

    def _version(self) -> str:
        self._number += 1
        return f"{self._number}{secrets.randbelow(1000):03d}"

    @contextmanager
    def _change(self, item: str, state: str | None) -> Any:
        self.ledger.tries(item, state)
        yield
        self.ledger.acknowledge(item)

    def _visit(self, host: str, method: str, path: str, body: bytes | None, expect: int) -> bytes:
        """By a connection that lives on from one request to the next, as a browser's."""
        status, text = self._ask(
            "visitor", self._platform.http_port, method, path, body, {"Host": f"{host}.localhost"}
        )
        if status != expect:
            raise Unanswered(f"{method} {host}{path}: {status}: {text[:200]!r}")
        return text

    def api(
        self, method: str, path: str, body: bytes | object = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        """The result. Raises Unanswered."""
        given = {"Authorization": f"Bearer {self._platform.token}", **(headers or {})}
        if body is not None and not isinstance(body, bytes):
            body, given["Content-Type"] = json.dumps(body).encode(), "application/json"
        status, text = self._ask("api", self._platform.control_port, method, path, body, given)
        if status != 200:
            raise Unanswered(f"{method} {path}: {status}: {text[:200]!r}")
        answer = json.loads(text)
        if answer["success"] is not True:
            raise Unanswered(f"{method} {path}: {text[:200]!r}")
        return answer["result"]

    def _ask(
        self, kind: str, port: int, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        connection: http.client.HTTPConnection | None = getattr(self._local, kind, None)
        if connection is None:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
            setattr(self._local, kind, connection)
        try:
            connection.request(method, path, body=body, headers=dict(headers))
            response = connection.getresponse()
            return response.status, response.read()
        except BaseException:
            connection.close()
            raise


def _upload(metadata: Mapping[str, object], module: bytes) -> tuple[bytes, str]:
    """A multipart body, and its content type."""
    boundary = secrets.token_hex(16)
    parts = (
        ("metadata", "", "application/json", json.dumps(metadata).encode()),
        ("main.wasm", '; filename="main.wasm"', "application/wasm", module),
    )
    body = b"".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n'
        f"Content-Type: {kind}\r\n\r\n".encode()
        + data
        + b"\r\n"
        for name, more, kind, data in parts
    )
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"
