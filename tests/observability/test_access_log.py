"""One whole JSON line an event; a stdout that is slow or broken costs lines, which are counted, never time."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator

import pytest

from model.outcome import EventOutcome
from observability import access_log
from observability.access_log import MAX_LINE_BYTES, AccessLog, to_descriptor
from tests.observability.records import event


class Collected:
    def __init__(self) -> None:
        self.data = b""
        self.calls = 0

    def __call__(self, data: bytes) -> None:
        self.data += data
        self.calls += 1

    def lines(self) -> list[dict[str, object]]:
        assert self.data.endswith(b"\n")
        return [json.loads(line) for line in self.data.splitlines()]


@pytest.fixture
def collected() -> Collected:
    return Collected()


@pytest.fixture
def log(collected: Collected) -> Iterator[AccessLog]:
    log = AccessLog(collected, "worker-0")
    yield log
    log.close()


def test_line_says_who_what_and_how_much(log: AccessLog, collected: Collected) -> None:
    log.line(event(outcome=EventOutcome.EXCEPTION, path='/a\n"b"', error="trap: unreachable"))
    assert log.flush()
    (line,) = collected.lines()
    assert isinstance(line.pop("at_ms"), int)
    assert line == {
        "ray_id": "0123456789abcdef",
        "trigger": "fetch",
        "namespace": "production",
        "script": "hello",
        "tenant": "alice",
        "outcome": "exception",
        "status": 200,
        "method": "GET",
        "hostname": "hello.example.com",
        "path": '/a\n"b"',
        "cpu_us": 70,
        "wall_us": 1_500,
        "memory_bytes": 65_536,
        "subrequests": 2,
        "bytes_in": 3,
        "bytes_out": 5,
        "depth": 0,
        "error": "trap: unreachable",
        "process": "worker-0",
    }


def test_lines_keep_their_order_and_share_writes(log: AccessLog, collected: Collected) -> None:
    for number in range(1_000):
        log.line(event(path=f"/{number}"))
    assert log.flush()
    assert [line["path"] for line in collected.lines()] == [f"/{number}" for number in range(1_000)]
    assert collected.calls < 100
    assert log.dropped == 0


def test_line_is_written_without_a_flush() -> None:
    written = threading.Event()
    log = AccessLog(lambda data: written.set())
    log.line(event())
    assert written.wait(10)
    log.close()


@pytest.mark.parametrize("path", ["x" * 10_000, "\x01" * 3_000, "€" * 5_000, "\ud800" * 2_000, "\udfff"])
def test_any_path_makes_a_whole_line_that_fits_one_write(
    log: AccessLog, collected: Collected, path: str
) -> None:
    log.line(event(path=path, error=path))
    assert log.flush()
    assert len(collected.data) <= MAX_LINE_BYTES
    assert str(collected.lines()[0]["path"])


def test_stuck_stdout_never_blocks_and_drops_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "MAX_WAITING_BYTES", 10_000)
    let_go = threading.Event()
    collected = Collected()

    def stuck(data: bytes) -> None:
        let_go.wait()
        collected(data)

    log = AccessLog(stuck)
    for _ in range(1_000):
        log.line(event())
    assert not log.flush(timeout_s=0.05)
    assert 900 < log.dropped < 1_000
    let_go.set()
    assert log.close()
    assert len(collected.lines()) + log.dropped == 1_000


def test_broken_stdout_costs_its_lines_and_the_log_goes_on() -> None:
    collected = Collected()
    broken = True

    def write(data: bytes) -> None:
        if broken:
            raise BrokenPipeError
        collected(data)

    log = AccessLog(write)
    log.line(event(path="/lost"))
    assert log.flush()
    assert log.dropped == 1
    broken = False
    log.line(event(path="/kept"))
    assert log.close()
    assert [line["path"] for line in collected.lines()] == ["/kept"]
    assert log.dropped == 1


def test_processes_that_share_a_pipe_do_not_mix_their_lines() -> None:
    reading, writing = os.pipe()
    received: list[bytes] = []

    def read() -> None:
        with open(reading, "rb") as file:
            received.append(file.read())

    reader = threading.Thread(target=read)
    reader.start()
    logs = [AccessLog(to_descriptor(writing)) for _ in range(3)]  # each writes from a thread of its own
    for number in range(500):
        for log in logs:
            log.line(event(path="/" + "x" * (number % 300)))
    for log in logs:
        assert log.close(timeout_s=30)
    os.close(writing)
    reader.join()
    lines = [json.loads(line) for line in received[0].splitlines()]
    assert len(lines) == 1_500
    assert {line["ray_id"] for line in lines} == {"0123456789abcdef"}


def test_full_pipe_that_does_not_block_is_waited_for() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    log = AccessLog(to_descriptor(writing))
    for _ in range(1_000):  # some 350 KiB: more than a pipe holds
        log.line(event())
    assert not log.flush(timeout_s=0.2)
    data = b""
    while data.count(b"\n") < 1_000:
        data += os.read(reading, 65_536)
    assert log.close()
    assert log.dropped == 0
    os.close(reading)
    os.close(writing)
