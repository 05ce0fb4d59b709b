"""Several processes serve one database: they take turns, none starves, and what was answered outlives its process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

from model.sql import SqlStatement
from storage.d1 import files
from storage.d1.connection import D1Connection
from storage.d1.guard import Asker
from storage.d1.limits import D1Limits

ROOT = Path(__file__).parents[3]

#: Writes until it is killed; a line for each answer, after it came.
WRITER = """
import sys
from pathlib import Path
from model.sql import SqlStatement
from storage.d1.connection import D1Connection
from storage.d1.guard import Asker
from storage.d1.limits import D1Limits
connection = D1Connection(Path(sys.argv[1]), D1Limits())
who, number = sys.argv[2], 0
while True:
    number += 1
    pair = [SqlStatement("INSERT INTO t VALUES (?, ?, ?)", (who, number, half)) for half in "ab"]
    results = connection.batch(pair, Asker())
    print(number, results[0].meta.bookmark, flush=True)
"""


def start(path: Path, who: str, out: Path) -> subprocess.Popen[bytes]:
    with out.open("ab") as file:
        return subprocess.Popen([sys.executable, "-c", WRITER, str(path), who], stdout=file, cwd=ROOT)


def answered(out: Path) -> list[tuple[int, int]]:
    """(number, bookmark) of each; a last line may be cut."""
    lines = out.read_text().split("\n")[:-1]
    return [(int(number), int(bookmark)) for number, bookmark in (line.split() for line in lines)]


def wait_for(out: Path, count: int, timeout_s: float = 60.0) -> None:
    end = time.monotonic() + timeout_s
    while len(answered(out)) < count:
        assert time.monotonic() < end, f"{out.name}: {len(answered(out))} of {count}"
        time.sleep(0.02)


def test_two_processes_write_one_database_and_killing_them_loses_nothing(tmp_path: Path) -> None:
    database_id = str(uuid.uuid4())
    files.create(tmp_path, database_id)
    path = tmp_path / f"{database_id}.sqlite"
    connection = D1Connection(path, D1Limits())
    connection.query(SqlStatement("CREATE TABLE t (who, number, half)"), Asker())
    outs = {who: tmp_path / f"{who}.out" for who in ("one", "two")}
    fair: list[bool] = []
    for round_number in range(3):
        before = {who: len(answered(out)) if out.exists() else 0 for who, out in outs.items()}
        started = {who: start(path, f"{who}{round_number}", out) for who, out in outs.items()}
        try:
            for who, out in outs.items():  # one may have begun long before the other
                wait_for(out, before[who] + 1)
            both = {who: len(answered(out)) for who, out in outs.items()}
            for who, out in outs.items():
                wait_for(out, both[who] + 40)
        finally:
            for process in started.values():
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
        # Whoever starves writes less than a quarter of the other in the same time.
        wrote = sorted(len(answered(out)) - both[who] for who, out in outs.items())
        fair.append(wrote[0] * 4 >= wrote[1])
    assert any(fair), "one of the two is starved, each time"
    rows = connection.query(
        SqlStatement("SELECT who, count(DISTINCT number), count(*) FROM t GROUP BY who"), Asker()
    ).rows
    kept = {str(who): int(numbers) for who, numbers, _ in rows}
    assert all(2 * numbers == halves for _, numbers, halves in rows), "half a batch is there"
    for who, out in outs.items():
        numbers = answered(out)
        assert sum(count for name, count in kept.items() if name.startswith(who)) >= len(numbers)
    bookmarks = [bookmark for out in outs.values() for _, bookmark in answered(out)]
    assert len(set(bookmarks)) == len(bookmarks), "two writes have one number"
    assert connection.bookmark() >= max(bookmarks)
    assert connection.query(SqlStatement("PRAGMA quick_check"), Asker()).rows == [("ok",)]
    connection.close()
