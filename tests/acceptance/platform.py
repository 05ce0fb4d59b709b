"""A host under test: demo.host.Host, and a look at its processes."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

from demo.host import ROOT, Host, free_port
from tests.support.waiting import wait_until as wait_until  # so that who uses a host can wait for it

SAMPLES = ROOT / "sample_workers"


class Platform(Host):
    def __init__(
        self, folder: Path, dns_port: int, api_port: int, groups: str = "", group_workers: int = 0
    ) -> None:
        """`groups`: isolation groups as the setting has them, with `group_workers` processes together."""
        hooks = (
            "--hooks",
            "front=tests.dispatch.hooks:by_header@hooked",
            "--trusted-proxies",
            "127.0.0.1/32",
            *(("--isolation-groups", groups) if groups else ()),
        )
        super().__init__(folder / "data", dns_port, settings=hooks)
        # Not the demo's: others may run tests, or a host, on this machine.
        self.http_port, self.control_port = free_port(0), free_port(0)
        self.url = f"http://127.0.0.1:{self.control_port}"
        self.api_port = api_port
        self.process_count = self.worker_count + group_workers

    def start(self, *more: str) -> None:
        """Returns when each worker process serves: one that does makes the host ready already."""
        super().start(*more)
        wait_until(lambda: self.metrics().get('tenantry_processes{kind="worker"}') == self.process_count)

    @property
    def token(self) -> str:
        return (self.data / "admin-token").read_text().strip()

    @property
    def supervisor_pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def deploy(
        self, sample: str, name: str, *arguments: str, namespace: str | None = "tests", stdin: str = ""
    ) -> str:
        """Deploy a sample worker under `name`, on the hostname `name`.localhost."""
        where = ("--namespace", namespace) if namespace else ()
        built, script = (SAMPLES / sample / f"{sample}{suffix}" for suffix in (".wasm", ".js"))
        wasm = str(built if built.exists() else script)
        host = ("--hostname", f"{name}.localhost")
        return self.tenantry(
            "deploy", wasm, "--name", name, *where, *host, *arguments, stdin=stdin, quiet=True
        )

    def run(self, *arguments: str, expect: int = 0, stdin: str = "") -> str:
        return self.tenantry(*arguments, expect=expect, stdin=stdin, quiet=True)

    def api(
        self, method: str, path: str, body: object = None, *, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """One API call, with the admin token unless `headers` has its own: status and parsed envelope."""
        given = {"Authorization": f"Bearer {self.token}", **(headers or {})}
        data = None
        if body is not None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            given.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection("127.0.0.1", self.control_port, timeout=60)
        connection.request(method, path, body=data, headers=given)
        response = connection.getresponse()
        text = response.read()
        connection.close()
        is_json = response.headers.get("content-type", "").startswith("application/json")
        return response.status, json.loads(text) if is_json else text.decode()

    def metrics(self) -> dict[str, float]:
        _, text = self.api("GET", "/metrics")
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    def log(self) -> str:
        """All lines that the host wrote: its own log, access lines, egress decisions. One that is being written has
        no end yet, and is left out.
        """
        return self._log.read_text(errors="replace").rpartition("\n")[0]

    def workers(self) -> list[int]:
        """Process ids of the worker processes that live now."""
        return self._children("worker_process")

    def named(self) -> dict[str, int]:
        """Name of each process that runs now, such as `worker-0`, and its process id."""
        found: dict[str, int] = {}
        for line in self.log().splitlines():
            if '"event": "state"' in line:
                state = json.loads(line)
                found[state["name"]] = state["pid"] if state["state"] == "running" else 0
        return {name: pid for name, pid in found.items() if pid}

    def pid_of(self, name: str) -> int:
        """Of a process that runs or is starting; 0 while it does neither."""
        states = [
            line for line in self.log().splitlines() if '"event": "state"' in line and f'"{name}"' in line
        ]
        return int(json.loads(states[-1])["pid"] or 0) if states else 0

    def ran_in(self, script: str) -> set[str]:
        """Names of the processes in which events of a script have ended, as the access log tells."""
        lines = [line for line in self.log().splitlines() if f'"script":"{script}"' in line]
        return {json.loads(line)["process"] for line in lines}

    def api_answers(self) -> bool:
        """Whether control is ready: its port is closed while it is started again."""
        try:
            return self.api("GET", "/readyz")[0] == 200
        except OSError:
            return False

    def kill_control(self) -> None:
        """Returns when its successor serves."""
        (control,) = self.controls()
        os.kill(control, signal.SIGKILL)
        wait_until(lambda: self.controls() not in ([], [control]))
        wait_until(self.api_answers)

    def controls(self) -> list[int]:
        """The process id of control; none while it is started again."""
        return self._children("control_process")

    def _children(self, module: str) -> list[int]:
        folder = Path(f"/proc/{self.supervisor_pid}/task/{self.supervisor_pid}")
        found: list[int] = []
        for pid in (folder / "children").read_text().split():
            # One that ends between the two looks lives no more.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if module.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(int(pid))
        return found

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.http_port), timeout=60)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.supervisor_pid, number)


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def reset_peak(pid: int) -> None:
    """Start the kernel's peak of resident memory anew (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the kernel tells no peak")


def read_head(sock: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Status, headers by lower-case name, and the part of the body that came with them."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(1 << 20)
        assert more, f"the connection was closed in the middle of a head: {data!r}"
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(status.split()[1]), headers, body


def read_response(sock: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """A whole response with a Content-Length: its bytes may come in any pieces."""
    status, headers, body = read_head(sock)
    while len(body) < int(headers["content-length"]):
        more = sock.recv(1 << 20)
        assert more, f"the connection was closed in the middle of a body: {body!r}"
        body += more
    return status, headers, body
