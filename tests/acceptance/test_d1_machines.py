"""SQL databases of two whole hosts that share a PostgreSQL: what one answered the other has, whatever becomes of the
first: asked in turn, killed in the middle of writes, or stopped until it was taken for dead and then woken up.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import http.client
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.postgres.address import DatabaseAddress
from tests.acceptance.platform import Platform, wait_until
from tests.acceptance.test_d1 import rows, sign
from tests.acceptance.test_many_machines import new_machine, settings_for

#: A lease lasts 10 s; the rest is the busy test machine's.
TAKEN_OVER_S = 40.0


@pytest.fixture
def pair(tmp_path: Path, database_address: DatabaseAddress) -> Iterator[tuple[Platform, Platform]]:
    a = new_machine(tmp_path / "a")
    made = [a]
    try:
        a.start(*settings_for(tmp_path / "a", database_address))
        b = new_machine(tmp_path / "b", a)
        made.append(b)
        b.start(*settings_for(tmp_path / "b", database_address))
        a.deploy("guest_book", "book", "--d1", "DB=guests")
        sign(a, "book.localhost", "first", "0")
        wait_until(lambda: b.request("book.localhost").status == 200)
        yield a, b
    finally:
        for machine in made:
            machine.stop()


def processes(machine: Platform) -> list[int]:
    """The host's: its supervisor first, so that nobody starts the others again."""
    return [machine.supervisor_pid, *machine.controls(), *machine.workers()]


def each(machine: Platform, number: signal.Signals) -> None:
    for pid in processes(machine):
        # Who has lost its supervisor ends by itself.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def entries(machine: Platform) -> set[str]:
    return {str(row["entry"]) for row in rows(machine, "guests", "SELECT entry FROM entries")}


class Writers:
    """Four at once, each of which has a write under way until `stop`, or until one gets no answer."""

    def __init__(self, machine: Platform) -> None:
        self.answered: list[str] = []
        self._machine = machine
        self._stop = threading.Event()
        self._pool = concurrent.futures.ThreadPoolExecutor(4)
        self._running = [self._pool.submit(self._write, number) for number in range(4)]

    def stop(self) -> None:
        """After the next answer of each."""
        self._stop.set()

    def wait(self) -> None:
        for one in self._running:
            one.result()
        self._pool.shutdown()

    def _write(self, writer: int) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            entry = f"{writer}/{number}"
            try:
                sign(self._machine, "book.localhost", "w", entry)
            except (OSError, http.client.HTTPException):
                return
            self.answered.append(entry)


def test_hosts_that_are_asked_in_turn_answer_with_all_that_was_answered(
    pair: tuple[Platform, Platform],
) -> None:
    for number in range(1, 6):
        for machine in pair:
            sign(machine, "book.localhost", "x", f"{number}")
        for machine in pair:
            assert rows(machine, "guests", "SELECT count(*) AS n FROM entries") == [{"n": 2 * number + 1}]
    for machine in pair:
        assert rows(machine, "guests", "PRAGMA quick_check") == [{"quick_check": "ok"}]
    pair[1].run("d1", "delete", "guests", "--yes", "--force")
    for machine in pair:
        wait_until(lambda machine=machine: machine.request("book.localhost").status >= 400)  # type: ignore[misc]


def test_a_host_that_is_killed_in_the_middle_of_writes_leaves_all_that_it_answered(
    pair: tuple[Platform, Platform],
) -> None:
    a, b = pair
    writers = Writers(a)
    wait_until(lambda: len(writers.answered) >= 60)
    each(a, signal.SIGKILL)
    writers.wait()
    wait_until(lambda: b.request("book.localhost").status == 200, TAKEN_OVER_S)
    assert not set(writers.answered) - entries(b)
    sign(b, "book.localhost", "b", "goes on")
    assert "goes on" in entries(b)
    assert rows(b, "guests", "PRAGMA quick_check") == [{"quick_check": "ok"}]


def test_a_host_that_wakes_up_after_its_lease_was_taken_acknowledges_nothing_that_was_not_kept(
    pair: tuple[Platform, Platform],
) -> None:
    a, b = pair
    writers = Writers(a)
    wait_until(lambda: len(writers.answered) >= 40)
    each(a, signal.SIGSTOP)
    try:
        before = set(writers.answered)
        wait_until(lambda: b.request("book.localhost").status == 200, TAKEN_OVER_S)
        assert not before - entries(b)
        sign(b, "book.localhost", "b", "of b")
        writers.stop()
    finally:
        each(a, signal.SIGCONT)
    # What was under way is answered if it was kept before B took over, or if A kept it after it had taken it back.
    writers.wait()
    kept = entries(b)
    assert not {*writers.answered, "of b"} - kept
    assert entries(a) == kept
    sign(a, "book.localhost", "a", "of a")
    assert entries(b) == {*kept, "of a"}
    assert rows(b, "guests", "PRAGMA quick_check") == [{"quick_check": "ok"}]
