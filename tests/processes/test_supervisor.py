"""Rule: whatever dies is replaced, its neighbours notice nothing, and the end is orderly. Every process
here is a real one; what is asserted is what a visitor, the operator's log or an exit code shows.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import until

Start = Callable[..., Awaitable["Platform"]]


class Platform:
    def __init__(self, process: asyncio.subprocess.Process, ports: dict[str, int]) -> None:
        self.process = process
        self.ports = ports
        self.log: list[dict[str, Any]] = []
        self._reading = asyncio.ensure_future(self._read_log())

    async def _read_log(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            try:
                self.log.append(json.loads(line))
            except ValueError:
                self.log.append({"kind": "noise", "text": line.decode()})

    async def logged(self, count: int = 1, **fields: object) -> dict[str, Any]:
        """The `count`-th entry with these fields, waited for."""
        async with asyncio.timeout(60):
            while True:
                found = [entry for entry in self.log if fields.items() <= entry.items()]
                if len(found) >= count:
                    return found[count - 1]
                await asyncio.sleep(0.01)

    async def running(self, workers: int) -> None:
        await self.logged(kind="control", state="running")
        for index in range(workers):
            await self.logged(kind="worker", index=index, state="running")

    async def get(self, path: str, port: str = "http") -> Any:
        """The JSON answer, on a connection of its own. Raises ConnectionError when there is none."""
        async with asyncio.timeout(60):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[port])
            try:
                return await ask(reader, writer, path)
            finally:
                writer.transport.abort()

    async def ended(self) -> int:
        async with asyncio.timeout(60):
            code = await self.process.wait()
            await self._reading
            return code

    def pids(self) -> list[int]:
        """The last known of each process."""
        known = {(e["kind"], e["index"]): e["pid"] for e in self.log if e.get("event") == "state"}
        return [pid for pid in known.values() if pid]


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> Any:
    writer.write(b"GET %b HTTP/1.1\r\nHost: a.example\r\n\r\n" % path.encode())
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return json.loads(await reader.readexactly(size))
    except asyncio.IncompleteReadError as error:  # the server died, before its answer or in the middle of it
        raise ConnectionResetError from error


@contextlib.asynccontextmanager
async def connected(
    platform: Platform, count: int
) -> AsyncIterator[list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]:
    made = [await asyncio.open_connection("127.0.0.1", platform.ports["http"]) for _ in range(count)]
    try:
        yield made
    finally:
        for _, writer in made:
            writer.transport.abort()


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def gone(pids: list[int]) -> None:
    async with asyncio.timeout(60):
        while any(map(alive, pids)):  # noqa: ASYNC110 - the end of a grandchild has no event
            await asyncio.sleep(0.01)


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    platforms: list[Platform] = []

    async def begin(workers: int, **settings: Any) -> Platform:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.processes.supervised",
            json.dumps({"workers": workers, **settings}),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        platform = Platform(process, json.loads(await process.stdout.readline()))
        platforms.append(platform)
        return platform

    yield begin
    for platform in platforms:
        if platform.process.returncode is None:
            platform.process.kill()
        await platform.ended()
        await gone(platform.pids())


async def test_a_worker_killed_under_load_is_replaced_and_no_other_process_s_request_fails(
    start: Start,
) -> None:
    platform = await start(3)
    await platform.running(3)
    victim = (await platform.logged(kind="worker", index=1, state="running"))["pid"]
    stop = asyncio.Event()
    answered: dict[int, int] = {}
    failed: dict[int, int] = {}

    async def visitor() -> None:
        """Keeps its connection, so it knows whose requests they are."""
        while not stop.is_set():
            reader, writer = await asyncio.open_connection("127.0.0.1", platform.ports["http"])
            server = 0
            try:
                while not stop.is_set():
                    server = await ask(reader, writer, "/pid")
                    answered[server] = answered.get(server, 0) + 1
            except ConnectionError:
                failed[server] = failed.get(server, 0) + 1
            writer.transport.abort()

    visitors = [asyncio.ensure_future(visitor()) for _ in range(24)]
    await until(lambda: len(answered) >= 3)
    os.kill(victim, signal.SIGKILL)
    death = await platform.logged(kind="worker", index=1, last_exit="SIGKILL")
    await platform.logged(2, kind="worker", index=1, state="running")
    before = sum(answered.values())
    await until(lambda: sum(answered.values()) > before + 100)
    stop.set()
    await asyncio.gather(*visitors)

    successor = (await platform.logged(2, kind="worker", index=1, state="running"))["pid"]
    assert death["restarts"] == 1
    # 0: connections that the victim had accepted, or were handed to it, before their first answer.
    assert set(failed) <= {victim, 0}, "only who was connected to the dead process saw it"
    assert len(set(answered) - {victim}) >= 2
    assert successor != victim
    async with asyncio.timeout(60):
        while await platform.get("/pid") != successor:
            pass


async def test_connections_that_came_during_a_first_restart_are_answered_by_the_successor(
    start: Start,
) -> None:
    """The listener and its queue outlive the process."""
    platform = await start(1)
    await platform.running(1)
    with pytest.raises(ConnectionError):
        await platform.get("/crash")
    answers = await asyncio.gather(*(platform.get("/pid") for _ in range(10)))
    assert set(answers) == {(await platform.logged(2, kind="worker", state="running"))["pid"]}


async def test_connections_in_the_queue_of_a_process_that_backs_off_are_answered_by_the_successor(
    start: Start,
) -> None:
    """Its listener is closed meanwhile, but not on them."""
    platform = await start(1, policy={"first_s": 1.0})
    await platform.running(1)
    with pytest.raises(ConnectionError):
        await platform.get("/crash")
    second = (await platform.logged(2, kind="worker", state="running"))["pid"]
    os.kill(second, signal.SIGSTOP)
    async with connected(platform, 10) as waiting:
        os.kill(second, signal.SIGKILL)
        await platform.logged(2, kind="worker", state="back-off")
        with pytest.raises(ConnectionRefusedError):
            await platform.get("/pid")
        answers = await asyncio.gather(*(ask(reader, writer, "/pid") for reader, writer in waiting))
        assert set(answers) == {(await platform.logged(3, kind="worker", state="running"))["pid"]}


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_reload_answers_who_waits_in_any_queue(start: Start, workers: int) -> None:
    """The kernel has shaken hands with them while the processes had no time to accept."""
    platform = await start(workers)
    await platform.running(workers)
    pids = [(await platform.logged(kind="worker", index=n, state="running"))["pid"] for n in range(workers)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    async with connected(platform, 20) as waiting:
        platform.process.send_signal(signal.SIGHUP)
        await platform.logged(event="reload", index=0)
        answers = [asyncio.ensure_future(ask(reader, writer, "/pid")) for reader, writer in waiting]
        for pid in reversed(pids):
            os.kill(pid, signal.SIGCONT)
        successors = [
            (await platform.logged(2, event="state", kind="worker", index=n, state="running"))["pid"]
            for n in range(workers)
        ]
        assert set(await asyncio.gather(*answers)) <= {*pids, *successors}


async def test_visitors_of_the_only_worker_wait_for_its_successor(start: Start, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    platform = await start(1, config={"gate": str(gate)}, drain_s=60)
    await platform.running(1)
    first = (await platform.logged(kind="worker", state="running"))["pid"]
    held = asyncio.ensure_future(platform.get("/held"))
    await platform.logged(kind="held")
    platform.process.send_signal(signal.SIGHUP)
    await platform.logged(kind="leaving", pid=first)
    waiting = [asyncio.ensure_future(platform.get("/pid")) for _ in range(10)]
    gate.touch()
    assert await held == first
    successor = (await platform.logged(2, event="state", kind="worker", state="running"))["pid"]
    assert set(await asyncio.gather(*waiting)) == {successor}


async def test_a_crash_loop_is_visible_refuses_connections_and_leaves_others_alone(start: Start) -> None:
    policy = {"first_s": 0.01, "max_s": 0.5}
    platform = await start(2, config={"crashing": [1]}, policy=policy)
    await platform.logged(kind="control", state="running")
    healthy = (await platform.logged(kind="worker", index=0, state="running"))["pid"]
    loop = await platform.logged(kind="worker", index=1, state="crash-loop")
    assert (loop["restarts"], loop["last_exit"]) == (5, "code 3")
    again = await platform.logged(2, kind="worker", index=1, state="crash-loop")
    assert again["at_s"] - loop["at_s"] > 0.4, "tried again, at the longest delay"
    # With its listener closed, the kernel hands every connection to the healthy one.
    assert {await platform.get("/pid") for _ in range(30)} == {healthy}
    status = await platform.get("/asked", "control")
    assert [row["state"] for row in status["processes"]] == ["running", "running", "crash-loop"]
    assert (await platform.get("/told", "control"))["processes"][2]["state"] == "crash-loop"


async def test_a_worker_that_is_stopped_by_hand_drains_while_others_take_its_visitors(
    start: Start, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    platform = await start(2, config={"gate": str(gate)}, drain_s=60)
    await platform.running(2)
    pids = [(await platform.logged(kind="worker", index=n, state="running"))["pid"] for n in (0, 1)]
    running = [asyncio.ensure_future(platform.get("/held")) for _ in range(20)]
    await platform.logged(20, kind="held")
    os.kill(pids[0], signal.SIGTERM)
    await platform.logged(kind="leaving", pid=pids[0])
    assert {await platform.get("/pid") for _ in range(20)} == {pids[1]}
    gate.touch()
    assert set(await asyncio.gather(*running)) == set(pids)
    successor = (await platform.logged(2, kind="worker", index=0, state="running"))["pid"]
    async with asyncio.timeout(60):
        while await platform.get("/pid") != successor:
            pass


async def test_with_every_listener_closed_connections_are_refused_and_the_port_stays_ours(
    start: Start,
) -> None:
    platform = await start(1, config={"crashing": [0]}, policy={"first_s": 5.0})
    await platform.logged(2, kind="worker", state="back-off")
    with pytest.raises(ConnectionRefusedError):
        await platform.get("/pid")
    with pytest.raises(OSError, match="in use"):
        await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", platform.ports["http"])


async def test_channels_survive_the_restart_of_either_side(start: Start) -> None:
    platform = await start(1)
    await platform.running(1)
    first = (await platform.logged(kind="worker", state="running"))["pid"]
    assert await platform.get("/worker/0", "control") == [first, "/worker/0"]
    os.kill(first, signal.SIGKILL)
    second = (await platform.logged(2, kind="worker", state="running"))["pid"]
    assert await platform.get("/worker/0", "control") == [second, "/worker/0"]
    with pytest.raises(ConnectionError):
        await platform.get("/crash", "control")
    await platform.logged(2, kind="control", state="running")
    assert await platform.get("/worker/0", "control") == [second, "/worker/0"]
    told = await platform.get("/told", "control")
    assert [(row["kind"], row["state"], row["last_exit"]) for row in told["processes"]] == [
        ("control", "running", "SIGKILL"),
        ("worker", "running", "SIGKILL"),
    ]


async def test_workers_serve_while_control_takes_a_second_to_start(start: Start) -> None:
    platform = await start(1, config={"start_s": 1.0})
    worker = (await platform.logged(kind="worker", state="running"))["pid"]
    assert await platform.get("/pid") == worker
    assert not [entry for entry in platform.log if (entry["kind"], entry["state"]) == ("control", "running")]
    await platform.logged(kind="control", state="running")
    told = await platform.get("/told", "control")
    assert told["processes"][1]["pid"] == worker


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_drains_what_runs_and_exits_0(
    start: Start, number: signal.Signals, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    platform = await start(2, config={"gate": str(gate)}, drain_s=60)
    await platform.running(2)
    running = [asyncio.ensure_future(platform.get("/held")) for _ in range(6)]
    await platform.logged(6, kind="held")
    platform.process.send_signal(number)
    await platform.logged(2, kind="leaving")
    with pytest.raises(ConnectionRefusedError):
        await platform.get("/pid")
    gate.touch()
    assert all(isinstance(pid, int) for pid in await asyncio.gather(*running))
    assert await platform.ended() == 0
    ends = {(e["kind"], e["index"]): e["last_exit"] for e in platform.log if e["state"] == "stopped"}
    assert ends == {("control", 0): "code 0", ("worker", 0): "code 0", ("worker", 1): "code 0"}
    assert platform.log[-1]["kind"] == "control", "control goes last"


async def test_who_does_not_end_in_time_is_killed_and_the_exit_code_is_0(start: Start) -> None:
    platform = await start(1, config={"deaf": True}, drain_s=1.0)
    await platform.running(1)
    platform.process.terminate()
    assert await platform.ended() == 0
    assert (await platform.logged(kind="worker", state="stopped"))["last_exit"] == "SIGKILL"
    assert (await platform.logged(kind="control", state="stopped"))["last_exit"] == "code 0"


async def test_a_second_stop_does_not_wait_for_the_drain(start: Start) -> None:
    platform = await start(1, config={"deaf": True}, drain_s=60)
    await platform.running(1)
    platform.process.terminate()

    async def is_heard() -> bool:
        """Two signals that wait to be taken are one."""
        return bool((await platform.get("/told", "control"))["draining"])

    await until(is_heard)
    platform.process.terminate()
    assert await platform.ended() == 0


async def test_a_stop_during_back_off_is_orderly_too(start: Start) -> None:
    platform = await start(1, config={"crashing": [0]}, policy={"first_s": 60.0, "max_s": 60.0})
    await platform.logged(2, kind="worker", state="back-off")
    await platform.logged(kind="control", state="running")
    platform.process.terminate()
    assert await platform.ended() == 0


async def test_children_die_with_a_killed_supervisor(start: Start) -> None:
    platform = await start(2)
    await platform.running(2)
    pids = platform.pids()
    assert len(pids) == 3
    assert all(map(alive, pids))
    platform.process.kill()
    await gone(pids)
