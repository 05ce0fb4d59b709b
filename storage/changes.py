"""How a process learns that what it cached has changed: a log in the database, a counter in memory.

Whoever changes something adds `(kind, key)` to the table `changes` in the same transaction. Its `seq` grows
by commit order. After COMMIT, under the lock that all writers take turns on, and before the change is
acknowledged, the newest `seq` goes to a small file that every process has mapped: a reader notices by one
memory load. A writer that is killed between COMMIT and that store leaves the file behind the log, which
three things put right: the next writer of any process, the next start, and each reader's look into the log
once a second (`ChangeSequence.check`).
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from storage.failures import from_os_error
from storage.transaction import Row, SqlValue, Transaction

#: A reader further behind than this drops its whole cache: cheaper than reading a longer log.
KEEP_ROWS = 100_000
#: One change in so many also prunes, so that the log never grows far beyond what is kept.
PRUNE_EVERY = 1_000
#: Reading this many takes some 10 ms of the loop; filling a cache anew costs each request a little.
MAX_CHANGES = 10_000

Read = Callable[[str, Sequence[SqlValue]], list[Row]]

_NEWEST = "SELECT max(seq) FROM changes"


class ChangeSequence:
    """An 8-byte counter in a mapped file, shared by all processes of the node.

    Native byte order, which is little-endian on every machine that is supported. One aligned store or load
    of 8 bytes is not torn on any of them.
    """

    __slots__ = ("_floor", "_map", "_words")

    def __init__(self, path: Path) -> None:
        """Map `path`; it is made with 0 (mode 0600) when missing. Raises DiskFull, StorageLost."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if os.fstat(descriptor).st_size < 8:
                    # Real bytes, not a hole: a store into a hole on a full disk ends the process (SIGBUS).
                    os.posix_fallocate(descriptor, 0, 8)
                self._map = mmap.mmap(descriptor, 8)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise from_os_error(error, path) from error
        self._words = memoryview(self._map).cast("Q")
        self._floor = 0

    def load(self) -> int:
        """The number of the last change that anyone committed. Called for each request."""
        value = self._words[0]
        return value if value > self._floor else self._floor

    def store(self, sequence: int) -> None:
        """Under the writers' lock only: see `store_sequence`."""
        self._words[0] = sequence

    def check(self, read: Read) -> bool:
        """Compare with the log; True when the file was behind it, since a writer died before its store.

        For each reading process, once a second. From then on `load` gives the log's number in this process
        (the file itself is only stored to under the writers' lock, so that it never goes back).
        """
        logged = newest(read)
        if logged <= self.load():
            return False
        self._floor = logged
        return True

    def close(self) -> None:
        self._words.release()
        self._map.close()


def record_change(tx: Transaction, kind: str, key: str) -> int:
    """Add one change to the log, in the transaction that makes it; its sequence number."""
    sequence: int = tx.execute("INSERT INTO changes (kind, key) VALUES (?, ?) RETURNING seq", (kind, key))[0][
        0
    ]
    if sequence % PRUNE_EVERY == 0:
        prune(tx, KEEP_ROWS)
    return sequence


def prune(tx: Transaction, keep_rows: int = KEEP_ROWS) -> int:
    """Forget all but the newest `keep_rows` (at least 1) changes; how many were forgotten.

    The newest row always stays: it is what the sequence is read from.
    """
    tx.execute("DELETE FROM changes WHERE seq <= (SELECT max(seq) FROM changes) - ?", (max(1, keep_rows),))
    return tx.changes()


def store_sequence(tx: Transaction, sequence: ChangeSequence) -> None:
    """The hook for `Database.open(on_commit=…)`: what the log says now, whoever wrote it."""
    sequence.store(newest(tx.execute))


def newest(read: Read) -> int:
    """The number of the newest committed change; 0 when there was none yet."""
    return read(_NEWEST, ())[0][0] or 0


def changes_since(
    read: Read, sequence: int, limit: int = MAX_CHANGES
) -> tuple[int, list[tuple[str, str]] | None]:
    """(newest number, the distinct (kind, key) after `sequence`, oldest first). `read` is `Database.read`.

    None for the list when the log no longer reaches back to `sequence`, when more than `limit` changes came
    after it, or when it is not in the log at all: then everything cached is to be dropped.
    """
    last = newest(read)
    if sequence == last:
        return last, []
    if not 0 <= last - sequence <= limit:
        return last, None
    # From `sequence` itself on: that its row is still there proves that none after it was pruned.
    rows = read("SELECT seq, kind, key FROM changes WHERE seq BETWEEN ? AND ? ORDER BY seq", (sequence, last))
    first = max(sequence, 1)
    if not rows or rows[0][0] != first:
        return last, None
    return last, list(dict.fromkeys((kind, key) for seq, kind, key in rows if seq > sequence))
