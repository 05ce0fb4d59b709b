"""Start and stop `tenantry serve`, run `tenantry` commands, make requests: all as a person would."""

from __future__ import annotations

import http.client
import os
import random
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
#: For what never happens: a busy machine takes its time.
_START_S: Final = 100.0
#: Below the kernel's own range, from which outgoing connections are given their ports.
_LEAST_PORT: Final = 10_000


class DemoFailed(Exception):
    """Something that the demo shows did not happen."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: str


def free_port(wanted: int) -> int:
    """`wanted` when nobody has it, else one that no outgoing connection is given while its owner is down."""
    kernels = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    chance = random.SystemRandom()  # of tests that run at once none has the others' luck
    others = chance.sample(range(_LEAST_PORT, kernels), 100) if kernels > _LEAST_PORT + 1_000 else []
    for port in (*filter(None, (wanted,)), *others, 0):
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(sock.getsockname()[1])
    raise DemoFailed("there is no free port on 127.0.0.1")


class Host:
    """A `tenantry serve` on a data folder, and the commands and requests that go to it."""

    def __init__(
        self, data: Path, resolver_port: int, workers: int = 2, settings: Sequence[str] = ()
    ) -> None:
        self.data = data
        self.http_port = free_port(8787)
        self.control_port = free_port(8788)
        self.url = f"http://127.0.0.1:{self.control_port}"
        self._resolver_port = resolver_port
        self.worker_count = workers
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._log = data.parent / "serve.log"

    def start(self, *more: str) -> None:
        """Returns when the host is ready; `more` are settings of this start alone. Raises DemoFailed with the
        end of its log.
        """
        command = [
            *(sys.executable, "-m", "cli.main", "serve", "--data", str(self.data)),
            *("--http", f"127.0.0.1:{self.http_port}", "--control", f"127.0.0.1:{self.control_port}"),
            *("--workers", str(self.worker_count), "--resolver", f"127.0.0.1:{self._resolver_port}"),
            *self._settings,
            *more,
        ]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            try:
                if self.request("localhost", "/readyz").status == 200 and self._control_is_ready():
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise DemoFailed(f"the host did not become ready; the end of its log:\n{self.log_end()}")

    def _control_is_ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.control_port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        finally:
            connection.close()

    def log_end(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-30:])

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        if self._process is None:
            return 0
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise DemoFailed("the host did not stop within 60 s of SIGTERM") from None

    def tenantry(self, *arguments: str, stdin: str = "", expect: int = 0, quiet: bool = False) -> str:
        """Run a command, printing it; what it printed."""
        if not quiet:
            shown = [os.path.relpath(a, ROOT) if a.startswith(str(ROOT)) else a for a in arguments]
            print(f"  $ tenantry {shlex.join(shown)}")
        environment = os.environ | {"TENANTRY_URL": self.url, "TENANTRY_DATA": str(self.data)}
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", *arguments],
            input=stdin,
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )
        if done.returncode != expect:
            raise DemoFailed(
                f"tenantry {arguments[0]} ended with {done.returncode} instead of {expect}:\n{done.stdout}{done.stderr}"
            )
        return done.stdout + done.stderr

    def request(
        self,
        hostname: str,
        path: str = "/",
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=60)
        try:
            connection.request(method, path, body=body, headers={"Host": hostname, **(headers or {})})
            response = connection.getresponse()
            text = response.read().decode("utf-8", "replace")
            return Answer(response.status, dict(response.getheaders()), text)
        finally:
            connection.close()
