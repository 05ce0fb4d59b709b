"""Commands the load generator, which is a process of its own: see benchmarks/load_client.py."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from benchmarks import proc
from benchmarks.host import ROOT, BenchFailed


def get(hostname: str, path: str = "/") -> bytes:
    """A request like a browser's in what matters: a few headers to be parsed and passed on."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: {hostname}\r\nUser-Agent: tenantry-bench\r\n"
        f"Accept: */*\r\nAccept-Encoding: gzip\r\n\r\n"
    ).encode()


@dataclass(frozen=True, slots=True)
class Slice:
    """What one side did in its turn. `cpu_us` is the server's CPU time for one request."""

    rate: float
    cpu_us: float
    #: Share of its core that the server used: near 1, or the generator was the bottleneck.
    busy: float


class LoadGenerator:
    def __init__(self, cores: set[int] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.load_client"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        if cores:
            proc.pin(self._process.pid, cores)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def pin(self, cores: set[int]) -> None:
        proc.pin(self._process.pid, cores)

    def connect(self, name: str, port: int, requests: Sequence[bytes], connections: int = 32) -> None:
        self._do("connect", name, port=port, connections=connections, requests=_packed(requests))

    def closed(self, name: str, seconds: float, *server_pids: int) -> Slice:
        """CPU is that of all `server_pids` together."""
        before = sum(map(proc.cpu_ns, server_pids))
        done = self._do("closed", name, seconds=seconds)
        used_s = (sum(map(proc.cpu_ns, server_pids)) - before) / 1e9
        count, took_s = done["count"], done["seconds"]
        return Slice(count / took_s, used_s / count * 1e6, used_s / took_s)

    def open(self, name: str, rate: float, seconds: float, seed: int) -> list[int]:
        """Latencies in µs, in no order."""
        latencies: list[int] = self._do("open", name, rate=rate, seconds=seconds, seed=seed)["latencies_us"]
        return latencies

    def begin_noise(self, name: str, port: int, requests: Sequence[bytes]) -> None:
        self._do("noise", name, port=port, requests=_packed(requests))

    def end_noise(self, name: str) -> None:
        self._do("quiet", name)

    def begin_churn(self, name: str, port: int, requests: Sequence[bytes], seconds: float) -> None:
        """Each of `requests` on a connection of its own, again whenever it is answered; `end_churn` waits."""
        self._ask("churn", name, port=port, requests=_packed(requests), seconds=seconds)

    def end_churn(self, name: str) -> dict[str, int]:
        """How many answers there were, by status; "cut": connections that ended without one."""
        statuses: dict[str, int] = self._answer(name)["statuses"]
        return statuses

    def _do(self, what: str, name: str, **arguments: object) -> dict[str, Any]:
        self._ask(what, name, **arguments)
        return self._answer(name)

    def _ask(self, what: str, name: str, **arguments: object) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"do": what, "name": name, **arguments}).encode() + b"\n")
        self._process.stdin.flush()

    def _answer(self, name: str) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise BenchFailed("the load generator ended")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise BenchFailed(f"{name}: {answer['error']}")
        return answer


def _packed(requests: Sequence[bytes]) -> list[str]:
    return [base64.b64encode(request).decode() for request in requests]
