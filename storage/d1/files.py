"""The files of tenants' databases, all in one folder: made, copied while in use, put back, removed.

Of the database `<id>`: `<id>.sqlite` with SQLite's `-wal` and `-shm`, `<id>.lock` (whose turn it is to write), and
`<id>@<unix ms>-<bookmark>.snapshot`, its restore points. Everything here blocks: it is called in threads.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, cast

import apsw

from storage.d1.limits import PAGE_BYTES
from storage.failures import DiskFull, StorageBusy, StorageLost, from_os_error
from storage.file_lock import FileLock
from storage.folders import sync_folder

_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_SNAPSHOT: Final = re.compile(
    r"(?P<id>[0-9a-f-]{36})@(?P<at>[0-9]{1,15})-(?P<bookmark>[0-9]{1,19})\.snapshot"
)
#: What holds something of a database.
_CONTENT: Final = re.compile(
    rf"(?P<id>{_ID.pattern})(\.sqlite(-wal|-shm)?|@[0-9]{{1,15}}-[0-9]{{1,19}}\.snapshot)"
)
#: With what SQLite keeps beside a copy while it is made.
_UNFINISHED: Final = re.compile(r"\.(partial|restoring|dump)(-journal|-wal|-shm)?\Z")
_LOCK_S: Final = 30.0
_BUSY_MS: Final = 5_000


@dataclass(frozen=True, slots=True, order=True)
class Snapshot:
    """A restore point: the database as it was at `at_ms`, after the write `bookmark`."""

    at_ms: int
    bookmark: int
    path: Path


class SharedWrites(Protocol):
    """What a write of a database that machines share does beside (`leased_database`)."""

    def begin_write(self) -> None:
        """Its lock is ours, and someone has it open."""

    def committing(self, number: int) -> None:
        """Before it can be seen."""

    def keep(self, number: int, *, shrinks: bool = False) -> bool:
        """After it can be seen, and before it is answered. False: there was nothing to keep."""


class NoSuchDatabase(Exception):
    """There is no file of this id."""


def is_id(text: str) -> bool:
    """Whether it can be a database's id, and so part of a file's name."""
    return _ID.fullmatch(text) is not None


def path_of(folder: Path, database_id: str) -> Path:
    if not is_id(database_id):
        raise NoSuchDatabase
    return folder / f"{database_id}.sqlite"


def create(folder: Path, database_id: str) -> None:
    """An empty database, durable. Idempotent. Raises StorageError."""
    create_at(path_of(folder, database_id))
    sync(folder)


def create_at(path: Path) -> None:
    """An empty database in the file `path`. Raises StorageError."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise from_os_error(error, path) from error
    with opened(path) as connection:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}; PRAGMA journal_mode = WAL").fetchall()
        # It is part of the header from here on, and the file has its first page.
        connection.execute("PRAGMA user_version = 1").fetchall()


def delete(folder: Path, database_id: str) -> None:
    """With its restore points. Whoever has it open finds it gone, and writes no more. Idempotent."""
    path = path_of(folder, database_id)
    lock_path = folder / f"{database_id}.lock"
    try:
        with turn(lock_path):
            path.unlink(missing_ok=True)
        for other in folder.glob(f"{database_id}*"):
            other.unlink(missing_ok=True)
    except OSError as error:
        raise from_os_error(error, path) from error
    sync(folder)


def bytes_of(folder: Path, database_id: str) -> int:
    """Of the file, without what its log holds: SQLite is not asked."""
    try:
        return path_of(folder, database_id).stat().st_size
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise from_os_error(error, folder) from error


def size(folder: Path, database_id: str) -> tuple[int, int]:
    """(bytes, tables), without SQLite's own. Reads the header and the schema, and runs nothing of a tenant's."""
    path = path_of(folder, database_id)
    with opened(path) as connection:
        pages = cast("int", connection.execute("PRAGMA page_count").fetchall()[0][0])
        rows = connection.execute(
            "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!'"
        ).fetchall()
        return pages * PAGE_BYTES, cast("int", rows[0][0])


def snapshot(folder: Path, database_id: str, now_ms: int) -> Snapshot:
    """A copy as of now, beside whoever reads and writes. The one that is there, when nothing was written since."""
    path = path_of(folder, database_id)
    with opened(path) as source:
        source.execute("BEGIN").fetchall()
        bookmark = number_of(source)
        for point in snapshots(folder, database_id):
            if point.bookmark == bookmark:
                return point
        made = folder / f"{database_id}@{now_ms}-{bookmark}.snapshot"
        copy(source, made)
    return Snapshot(now_ms, bookmark, made)


def snapshots(folder: Path, database_id: str) -> list[Snapshot]:
    """The newest first."""
    found = [
        Snapshot(int(match["at"]), int(match["bookmark"]), path)
        for path in folder.glob(f"{database_id}@*.snapshot")
        if (match := _SNAPSHOT.fullmatch(path.name))
    ]
    return sorted(found, reverse=True)


def held(folder: Path) -> dict[str, list[Path]]:
    """Databases of which something is there, if it is only a restore point: id → files, without unfinished ones."""
    found: dict[str, list[Path]] = {}
    for path in folder.iterdir():
        if (match := _CONTENT.fullmatch(path.name)) is not None:
            found.setdefault(match["id"], []).append(path)
    return found


def restore(folder: Path, database_id: str, point: Snapshot, shared: SharedWrites | None = None) -> int:
    """Put a restore point's content back, as one write; its number. Others go on, and see it whole or not at all.
    `shared`: other machines have to have it, too.
    """
    path = path_of(folder, database_id)
    prepared = folder / f"{database_id}.restoring"
    try:
        with turn(folder / f"{database_id}.lock"), opened(path) as target:
            number = number_of(target) + 1
            if shared is not None:
                shared.begin_write()
            # Numbers only grow, so the copy gets its own before it takes the place.
            with opened(point.path, read_only=True) as source:
                copy(source, prepared)
            with opened(prepared) as source:
                source.execute(f"PRAGMA user_version = {number}").fetchall()
                if shared is None:
                    back_up(target, source)
                else:
                    shared.committing(number)
                    back_up(target, source)
                    shared.keep(number, shrinks=True)
        return number
    finally:
        prepared.unlink(missing_ok=True)


def stale(points: Sequence[Snapshot], now_ms: int, recent: int = 48, days: int = 30) -> list[Snapshot]:
    """Which restore points may go: all but the `recent` newest and, of older ones, one a day for `days`. Pure."""
    day_ms = 86_400_000
    gone: list[Snapshot] = []
    days_kept: set[int] = set()
    for number, point in enumerate(sorted(points, reverse=True)):
        day = point.at_ms // day_ms
        if number < recent:
            continue
        if point.at_ms < now_ms - days * day_ms or day in days_kept:
            gone.append(point)
        else:
            days_kept.add(day)
    return gone


def remove_unfinished(folder: Path, older_than_s: float) -> int:
    """Copies and dumps whose maker died: files that nobody touched for so long. Their bytes."""
    freed = 0
    for path in folder.iterdir():
        if not _UNFINISHED.search(path.name):
            continue
        try:
            status = path.stat()
            if time.time() - status.st_mtime > older_than_s:
                path.unlink()
                freed += status.st_size
        except FileNotFoundError:
            continue  # it was finished just now
        except OSError as error:
            raise from_os_error(error, path) from error
    return freed


def copy(source: apsw.Connection, to: Path) -> None:
    """The whole of `source`, or no file at all."""
    partial = to.with_name(f"{to.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        os.close(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with opened(partial) as target:
            back_up(target, source)
            # A copy is one file: nobody needs a log beside it.
            target.execute("PRAGMA journal_mode = DELETE").fetchall()
        os.replace(partial, to)
        sync(to.parent)
    except OSError as error:
        raise from_os_error(error, to) from error
    finally:
        partial.unlink(missing_ok=True)


def back_up(target: apsw.Connection, source: apsw.Connection) -> None:
    with target.backup("main", source, "main") as backup:
        while not backup.done:
            backup.step(-1)


def number_of(connection: apsw.Connection) -> int:
    return cast("int", connection.execute("PRAGMA user_version").fetchall()[0][0])


@contextmanager
def opened(path: Path, *, read_only: bool = False) -> Iterator[apsw.Connection]:
    """A connection for the pages alone: no statement of a tenant's runs in it. Raises StorageError."""
    if not path.exists():
        raise NoSuchDatabase
    flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE
    try:
        connection = apsw.Connection(str(path), flags=flags | apsw.SQLITE_OPEN_NOFOLLOW)
        try:
            connection.set_busy_timeout(_BUSY_MS)
            connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
            connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
            connection.execute("PRAGMA synchronous = FULL").fetchall()
            yield connection
        finally:
            connection.close(True)
    except apsw.BusyError as error:
        raise StorageBusy("the database is busy", detail=f"{path}: {error}") from error
    except apsw.FullError as error:
        raise DiskFull("the storage is full", detail=f"{path}: {error}") from error
    except apsw.Error as error:
        raise StorageLost("the database can't be read or written", detail=f"{path}: {error}") from error


@contextmanager
def turn(path: Path, timeout_s: float = _LOCK_S) -> Iterator[None]:
    """To write the database whose lock `path` is. Raises StorageBusy, OSError."""
    lock = FileLock(path)
    try:
        if not lock.acquire(timeout_s):
            raise StorageBusy("the database is busy: others write to it", detail=str(path))
        try:
            yield
        finally:
            lock.release()
    finally:
        lock.close()


def sync(folder: Path) -> None:
    """What was made, renamed or removed in it stays so after a power loss."""
    try:
        sync_folder(folder)
    except OSError as error:
        raise from_os_error(error, folder) from error
