"""A real `tenantry serve` to measure: started on a folder of its own, deployed to through its API."""

from __future__ import annotations

import functools
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from benchmarks import proc
from cli.client import ApiClient, Part, encode_multipart
from cli.deployment import MAIN_MODULE, Deployment, upload_metadata
from cli.javascript_sources import ESM

ROOT: Final = Path(__file__).parents[1]
NAMESPACE: Final = "bench"
_START_S: Final = 60.0


class BenchFailed(Exception):
    """What was to be measured did not happen: the figure would be of something else."""


def sample(name: str, suffix: str = ".wasm") -> bytes:
    return (ROOT / "sample_workers" / name / f"{name}{suffix}").read_bytes()


def distinct(module: bytes, number: int) -> bytes:
    """The same worker under another digest: a custom section is added, which nothing reads."""
    payload = b"\x05bench" + number.to_bytes(4, "little")
    return module + b"\x00" + bytes([len(payload)]) + payload


def free_ports(count: int) -> list[int]:
    taken = [socket.socket() for _ in range(count)]
    try:
        for sock in taken:
            sock.bind(("127.0.0.1", 0))
        return [int(sock.getsockname()[1]) for sock in taken]
    finally:
        for sock in taken:
            sock.close()


class BenchHost:
    """`with BenchHost(workers=1) as host:` – ready inside, stopped and its folder gone after.

    `data` is a folder from an earlier host, which is left there.
    """

    def __init__(self, workers: int, data: Path | None = None, options: Sequence[str] = ()) -> None:
        self._workers = workers
        self._options = options
        self._folder = tempfile.TemporaryDirectory(prefix="tenantry-bench-")
        self.data = data or Path(self._folder.name) / "data"
        self._is_new = data is None or not data.exists()
        #: From its start to the first 200 of /readyz at both doors.
        self.ready_after_s = 0.0
        self._log = Path(self._folder.name) / "serve.log"
        self.port, self.control_port = free_ports(2)
        self._process: subprocess.Popen[bytes] | None = None
        self._token = ""

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _start(self) -> None:
        command = [
            *(sys.executable, "-m", "cli.main", "serve", "--data", str(self.data)),
            *("--http", f"127.0.0.1:{self.port}", "--control", f"127.0.0.1:{self.control_port}"),
            *("--workers", str(self._workers)),
            *self._options,
        ]
        with self._log.open("ab") as log:
            # Access lines are made and written as in any installation; here nobody wants to keep them.
            self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=log)
        started = time.monotonic()
        deadline = started + _START_S
        while not (self._answers(self.port) and self._answers(self.control_port)):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise BenchFailed(f"the host did not become ready; the end of its log:\n{self.log_end()}")
            time.sleep(0.005)
        self.ready_after_s = time.monotonic() - started
        self._token = (self.data / "admin-token").read_text().strip()
        if self._is_new:
            self.api.post(self.api.path("workers", "dispatch", "namespaces"), {"name": NAMESPACE})

    @functools.cached_property
    def api(self) -> ApiClient:
        return ApiClient(f"http://127.0.0.1:{self.control_port}", self._token, "default")

    @staticmethod
    def _answers(port: int) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def log_end(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-30:])

    @property
    def pid(self) -> int:
        """The supervisor's."""
        if self._process is None:
            raise BenchFailed("the host is not started")
        return self._process.pid

    def process_ids(self, module: str) -> list[int]:
        """The processes that run `module`: "cli.worker_process" or "cli.control_process"."""
        return [child for child in proc.children(self.pid) if module in proc.command(child)]

    def all_process_ids(self) -> list[int]:
        """Supervisor, control and workers."""
        return [
            self.pid,
            *self.process_ids("cli.control_process"),
            *self.process_ids("cli.worker_process"),
        ]

    @property
    def worker_pid(self) -> int:
        (pid,) = self.process_ids("cli.worker_process")
        return pid

    # -- deploying -----------------------------------------------------------------------------------

    def deploy(
        self,
        name: str,
        module: bytes,
        hostname: str,
        *,
        tenant: str | None = None,
        kv: Mapping[str, str] | None = None,
        queues: Mapping[str, str] | None = None,
        d1: Mapping[str, str] | None = None,
        limits: Mapping[str, int] | None = None,
        namespace: str | None = NAMESPACE,
        dispatch: Mapping[str, str] | None = None,
        warm_up: str | None = None,
    ) -> None:
        """Upload and route, by the API; `module` is wasm, or one module of JavaScript. `kv` is binding → namespace id,
        `d1` binding → database id, `queues` binding → name, `dispatch` binding → dispatch namespace. `namespace` None:
        a script of the platform's own.
        """
        kv = kv or {}
        deployment = Deployment(
            name,
            namespace,
            tenant or name,
            kv=[(binding, binding) for binding in kv],
            queues=list((queues or {}).items()),
            d1=[(binding, binding) for binding in d1 or {}],
            dispatch=list((dispatch or {}).items()),
            limits=[(limit, str(value)) for limit, value in (limits or {}).items()],
            warm_up=warm_up,
        )
        main, kind = (MAIN_MODULE, "application/wasm") if module[:4] == b"\0asm" else ("worker.js", ESM)
        metadata = json.dumps(upload_metadata(deployment, kv, d1, main)).encode()
        content_type, body = encode_multipart(
            [Part("metadata", metadata, "application/json"), Part(main, module, kind, main)]
        )
        self.api.upload(self.api.script(namespace, name), body, content_type, lambda _: None)
        target = {"script": name} if namespace is None else {"namespace": namespace, "script": name}
        self.api.post(
            self.api.path("workers", "dispatch", "routes"), {"hostname": hostname, "target": target}
        )

    def make_kv(self, title: str, tenant: str) -> str:
        body = {"title": title, "tenant": tenant, "namespace": NAMESPACE}
        return str(self.api.post(self.api.path("storage", "kv", "namespaces"), body)["id"])

    def put_kv(self, namespace_id: str, key: str, value: bytes) -> None:
        path = self.api.path("storage", "kv", "namespaces", namespace_id, "values", key)
        self.api.put_bytes(path, value, "application/octet-stream")

    def make_d1(self, name: str, tenant: str) -> str:
        body = {"name": name, "tenant": tenant, "namespace": NAMESPACE}
        return str(self.api.post(self.api.path("d1", "database"), body)["uuid"])

    def query_d1(self, database_id: str, sql: str) -> None:
        self.api.post(self.api.path("d1", "database", database_id, "query"), {"sql": sql})

    def request(
        self,
        hostname: str,
        path: str = "/",
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Sequence[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body=body, headers={"Host": hostname, **(headers or {})})
            response = connection.getresponse()
            return response.status, response.getheaders(), response.read()
        finally:
            connection.close()

    def metrics(self) -> dict[str, float]:
        """/metrics: each sample's name with its labels → its value."""
        text = self.api.exchange("GET", "/metrics").body.decode()
        rows = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, value in rows}

    # -- the end -------------------------------------------------------------------------------------

    def stop(self) -> int:
        """SIGTERM; its exit code. Raises BenchFailed when it does not end within 60 s."""
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(60)
        except subprocess.TimeoutExpired:
            self._kill(process)
            raise BenchFailed(f"the host did not stop within 60 s of SIGTERM:\n{self.log_end()}") from None

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                self._kill(process)
        self._folder.cleanup()

    @staticmethod
    def _kill(process: subprocess.Popen[bytes]) -> None:
        for child in proc.children(process.pid):
            os.kill(child, signal.SIGKILL)
        process.kill()
        process.wait()


def expect_ok(answer: tuple[int, Any, bytes], what: str) -> bytes:
    if answer[0] != 200:
        raise BenchFailed(f"{what}: {answer[0]} {answer[2][:300]!r}")
    return answer[2]
