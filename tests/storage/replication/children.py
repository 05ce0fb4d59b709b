"""Machines that are processes of their own, to be killed: `python -m tests.storage.replication.children NAME …`."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from storage.database import StorageError
from storage.postgres.address import DatabaseAddress
from storage.replication.entries import Entry
from storage.replication.log import Turn
from storage.sqlite_engine import SqliteEngine
from storage.transaction import Transaction
from tests.storage.replication.machines import Machine, put
from tests.support.postgres import PASSWORD, USER


def _machine(folder: str, port: str, database: str, name: str = "a", *, follows: bool = False) -> Machine:
    address = DatabaseAddress("127.0.0.1", int(port), database, USER, password=PASSWORD)
    return Machine(Path(folder), address, name, follows=follows)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_before_local_commit(folder: str, port: str, database: str) -> None:
    machine = _machine(folder, port, database)
    machine.put("acknowledged", 1)
    print("armed")
    SqliteEngine.commit = lambda self: _die()  # type: ignore[method-assign]
    machine.put("in the log", 2)


def die_before_log_commit(folder: str, port: str, database: str) -> None:
    machine = _machine(folder, port, database)
    machine.put("acknowledged", 1)
    print("armed")

    def append(self: Turn, entries: Sequence[Entry]) -> None:
        _die()

    Turn.append = append  # type: ignore[method-assign]
    machine.put("never", 2)


def hang_in_turn(folder: str, port: str, database: str) -> None:
    """Hold the platform's turn until stdin ends."""
    machine = _machine(folder, port, database)

    def work(tx: Transaction) -> None:
        put(tx, "never", 1)
        print("hangs")
        sys.stdin.read()

    try:
        machine.database.write_blocking(work)
    except StorageError as error:
        print(type(error).__name__)
    machine.close()


def write(folder: str, port: str, database: str, name: str, prefix: str) -> None:
    """Write for ever, and say what was acknowledged."""
    machine = _machine(folder, port, database, name, follows=True)
    number = 0
    while True:
        try:
            machine.put(f"{prefix}{number}", number)
        except StorageError as error:
            print(f"{name}: {error.message}: {error.detail}"[:300], file=sys.stderr)
            time.sleep(0.05)
        else:
            os.write(1, f"{prefix}{number}\n".encode())
        number += 1


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
