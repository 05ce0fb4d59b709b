"""The soak's visitors: what each sends over and over, what it expects, and what it remembers as promised.

Every visitor is one task. An answer other than the expected one is a failure; so is a connection that
breaks, unless its server process was killed just then, which `Killed` knows.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from benchmarks.http_client import Broken, Connection

#: Between a visitor's requests: the point is endurance, not saturation.
_PAUSE_S = 0.02
#: A connection that breaks so long after its process was killed broke by that.
_KILL_WINDOW_S = 5.0


class Killed:
    """The client ports of connections whose process was killed, and when."""

    def __init__(self) -> None:
        self._ports: dict[int, float] = {}

    def add(self, ports: set[int]) -> None:
        now = time.monotonic()
        self._ports.update(dict.fromkeys(ports, now))

    def explains(self, port: int) -> bool:
        at = self._ports.get(port)
        return at is not None and time.monotonic() - at < _KILL_WINDOW_S


@dataclass
class Ledger:
    """What happened, and what the host promised by acknowledging it."""

    killed: Killed = field(default_factory=Killed)
    done: Counter[str] = field(default_factory=Counter)
    #: Broken off with the process that was killed: allowed.
    cut: int = 0
    failures: list[str] = field(default_factory=list)
    #: Bodies of messages that were answered 202.
    sent: set[str] = field(default_factory=set)
    #: Key → value of every write that was answered 201.
    written: dict[str, str] = field(default_factory=dict)

    def fail(self, text: str) -> None:
        if len(self.failures) < 50:
            self.failures.append(f"{time.strftime('%H:%M:%S')} {text}")


Step = Callable[[Connection], Awaitable[None]]


class Visitors:
    def __init__(self, port: int, ledger: Ledger) -> None:
        self._port = port
        self._ledger = ledger
        self._chance = random.Random(3)
        self._numbers = iter(range(1 << 60))
        self._counted = 0
        self._stopping = False

    async def run(self, seconds: float) -> None:
        steps: list[tuple[str, Step, int]] = [
            ("hello", self._hello, 4),
            ("echo", self._echo, 2),
            ("kv", self._kv, 3),
            ("counter", self._counter, 1),
            ("queue", self._send, 2),
            ("spin", self._spin, 1),
            ("trap", self._trap, 1),
            ("leaving", self._leave, 2),
        ]
        tasks = [
            asyncio.create_task(self._visit(name, step)) for name, step, count in steps for _ in range(count)
        ]
        await asyncio.sleep(seconds)
        self._stopping = True
        # Each ends with the request that it is in.
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, BaseException):
                self._ledger.fail(f"a visitor ended: {result!r}")

    async def _visit(self, name: str, step: Step) -> None:
        ledger, connection = self._ledger, Connection(self._port)
        while not self._stopping:
            try:
                await step(connection)
                ledger.done[name] += 1
            except Broken as broken:
                if ledger.killed.explains(connection.port):
                    ledger.cut += 1
                else:
                    ledger.fail(f"{name}: {broken}")
                await asyncio.sleep(0.1)
            await asyncio.sleep(_PAUSE_S)
        connection.close()

    async def _expect(
        self, connection: Connection, status: int, hostname: str, path: str = "/", method: str = "GET",
        body: bytes = b"",
    ) -> bytes:  # fmt: skip
        got, answer = await connection.request(f"{hostname}.localhost", path, method, body)
        if got != status:
            self._ledger.fail(f"{method} {hostname}{path}: {got} instead of {status}: {answer[:200]!r}")
        return answer

    async def _hello(self, connection: Connection) -> None:
        await self._expect(connection, 200, "hello")

    async def _echo(self, connection: Connection) -> None:
        body = self._chance.randbytes(int(2 ** self._chance.uniform(0, 18)))
        path = self._chance.choice(("/", "/?pass"))
        if await self._expect(connection, 200, "echo", path, "POST", body) != body:
            self._ledger.fail(f"echo: a body of {len(body)} bytes came back changed")

    async def _kv(self, connection: Connection) -> None:
        number = next(self._numbers)
        key, value = f"k{number}", f"value {number}"
        status, answer = await connection.request("notes.localhost", f"/{key}", "PUT", value.encode())
        if status != 201:
            self._ledger.fail(f"kv: PUT answered {status}: {answer[:200]!r}")
            return
        self._ledger.written[key] = value
        earlier = self._chance.choice(list(self._ledger.written))
        found = await self._expect(connection, 200, "notes", f"/{earlier}")
        if found.decode() != self._ledger.written[earlier]:
            self._ledger.fail(
                f"kv: {earlier} is {found[:100]!r}, was written {self._ledger.written[earlier]!r}"
            )

    async def _counter(self, connection: Connection) -> None:
        """One visitor alone: each acknowledged count is above the one before, whatever was killed between."""
        count = int(await self._expect(connection, 200, "counter"))
        if count <= self._counted:
            self._ledger.fail(f"counter: {count} after {self._counted}")
        self._counted = count

    async def _send(self, connection: Connection) -> None:
        body = f"message {next(self._numbers)}"
        status, answer = await connection.request("producer.localhost", "/", "POST", body.encode())
        if status == 202:
            self._ledger.sent.add(body)
        else:
            self._ledger.fail(f"queue: {status}: {answer[:200]!r}")
        await asyncio.sleep(0.05)

    async def _spin(self, connection: Connection) -> None:
        await self._expect(connection, 503, "hostile", "/spin")
        await asyncio.sleep(0.2)

    async def _trap(self, connection: Connection) -> None:
        await self._expect(
            connection, 500, "hostile", self._chance.choice(("/trap", "/bad-pointer", "/exit"))
        )

    async def _leave(self, connection: Connection) -> None:
        """In the middle of a wait, of a computation, of a download, of an upload."""
        kind = self._chance.randrange(4)
        if kind == 3:
            await connection.send_only("echo.localhost", "/", "POST", b"Content-Length: 1000000\r\n")
        else:
            await connection.send_only("hostile.localhost", ("/wait?ms=60000", "/spin", "/endless")[kind])
        await asyncio.sleep(self._chance.uniform(0.0, 0.1))
        connection.close()
