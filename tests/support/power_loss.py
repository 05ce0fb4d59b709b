"""A disk that forgets at a power loss what was not synced: for one process, which records what reaches it.

`record()` stands between the process and its disk: an apsw VFS for SQLite, and os.fsync for files of our own. What it
writes is a log of what became durable, when, and of what the process said meanwhile. Another process makes of every
prefix of that log what a disk would hold had the power gone then (`Disk`), so one run gives as many crashes as it has
events.

The rules of that disk are what POSIX promises and no more. A file's bytes are there once the file was synced. A name
is there (or gone, or another file's) once its folder was synced: so a new file that was synced without its folder is
lost, and an unlink or a rename comes undone. SQLite's own syncs of folders are seen, not guessed: its unix VFS opens a
folder for nothing else, through a system call that it lets others replace.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import random
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

import apsw

#: A device writes whole sectors, in any order.
SECTOR: Final = 512


@dataclass(frozen=True, slots=True)
class Wrote:
    """By SQLite, not durable yet. `data` None: the file was cut off, or made longer, at `offset`."""

    file: int
    offset: int
    data: bytes | None


@dataclass(frozen=True, slots=True)
class Synced:
    """All that was written to the file is durable."""

    file: int


@dataclass(frozen=True, slots=True)
class Content:
    """A file of our own was synced: these bytes are durable."""

    file: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Listed:
    """A folder was synced: these names are durable, each with its file's number, and whether that is a folder."""

    folder: int
    names: dict[str, tuple[int, bool]]


@dataclass(frozen=True, slots=True)
class Said:
    """The process's own words, for whoever judges what survived."""

    words: Any


Event = Wrote | Synced | Content | Listed | Said


class Recorder:
    """Appends to the log in the order in which things happened. Any thread."""

    def __init__(self, root: Path, log: BinaryIO) -> None:
        self._root = os.path.realpath(root)
        self._log = log
        #: Held over an operation and its record, so that the log's order is the disk's.
        self.lock = threading.RLock()
        #: inode → a descriptor that keeps the number from being given to another file.
        self._kept: dict[int, int] = {}
        #: os.fsync of these files does nothing: a test's way to leave a sync out.
        self.forgets: Callable[[str], bool] = lambda path: False

    def say(self, words: object) -> None:
        self.record(Said(words))

    def record(self, event: Event) -> None:
        with self.lock:
            pickle.dump(event, self._log)

    def number(self, path: str) -> int:
        """The number of the file or folder at `path`, never given to another one afterwards."""
        status = os.lstat(path)
        if status.st_ino not in self._kept:
            self._kept[status.st_ino] = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        return status.st_ino

    def is_ours(self, path: str) -> bool:
        return os.path.realpath(path).startswith(self._root)

    def folder_synced(self, path: str) -> None:
        with self.lock:
            names = self._names(path)
            while names is None:
                names = self._names(path)
            self.record(Listed(self.number(path), names))

    def _names(self, path: str) -> dict[str, tuple[int, bool]] | None:
        """None when one went meanwhile: SQLite's own files come and go, and what was renamed has its new name only
        in a list that is begun anew.
        """
        try:
            return {
                entry.name: (self.number(entry.path), entry.is_dir(follow_symlinks=False))
                for entry in os.scandir(path)
            }
        except FileNotFoundError:
            return None

    def synced(self, descriptor: int) -> None:
        """Instead of os.fsync."""
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if not self.is_ours(path) or self.forgets(path):
            return
        with self.lock:
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                self.folder_synced(path)
                return
            with open(f"/proc/self/fd/{descriptor}", "rb") as file:
                self.record(Content(self.number(path), file.read()))


class RecordingVfs(apsw.VFS):
    """SQLite's own, with a recorder between. The memory that processes share (-shm) is no matter of the disk's."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        super().__init__("recording", "unix", makedefault=True)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        return RecordingFile(self._recorder, name, flags)


class RecordingFile(apsw.VFSFile):
    def __init__(self, recorder: Recorder, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._recorder = recorder
        super().__init__("unix", name, flags)
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        with recorder.lock:
            ours = path is not None and recorder.is_ours(path)
            self._file = recorder.number(path) if ours and path is not None else 0

    def xWrite(self, data: bytes, offset: int) -> None:
        with self._recorder.lock:
            super().xWrite(data, offset)
            if self._file:
                self._recorder.record(Wrote(self._file, offset, bytes(data)))

    def xTruncate(self, size: int) -> None:
        with self._recorder.lock:
            super().xTruncate(size)
            if self._file:
                self._recorder.record(Wrote(self._file, size, None))

    def xSync(self, flags: int) -> None:
        with self._recorder.lock:
            super().xSync(flags)
            if self._file:
                self._recorder.record(Synced(self._file))


_OpenDirectory = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.POINTER(ctypes.c_int))


def record(root: Path, log: BinaryIO) -> Recorder:
    """From now on this process's disk is recorded: whatever lies under `root`. For good; before any file is opened."""
    recorder = Recorder(root, log)
    recorder.record(Listed(recorder.number(str(root)), {}))
    unix = apsw.VFS("unix-again", "unix")
    original = _OpenDirectory(unix.xGetSystemCall("openDirectory") or 0)

    def open_directory(path: bytes, descriptor: Any) -> int:
        result: int = original(path, descriptor)
        folder = os.path.dirname(os.fsdecode(path))
        if result == 0 and recorder.is_ours(folder):
            recorder.folder_synced(folder)
        return result

    callback = _OpenDirectory(open_directory)
    pointer = ctypes.cast(callback, ctypes.c_void_p).value
    if pointer is None or not unix.xSetSystemCall("openDirectory", pointer):
        raise RuntimeError("SQLite's unix VFS has no openDirectory to replace")
    _for_good.append((callback, RecordingVfs(recorder), unix))
    os.fsync = recorder.synced  # type: ignore[assignment]
    os.fdatasync = recorder.synced  # type: ignore[assignment]
    return recorder


#: SQLite has their addresses.
_for_good: list[object] = []


@dataclass(slots=True)
class _File:
    durable: bytearray = field(default_factory=bytearray)
    #: Written since, in order.
    pending: list[Wrote] = field(default_factory=list)


class Disk:
    """What is durable after a prefix of the log."""

    def __init__(self) -> None:
        self._files: dict[int, _File] = {}
        self._folders: dict[int, dict[str, tuple[int, bool]]] = {}
        self._root = 0

    def apply(self, event: Event) -> None:
        match event:
            case Wrote(number):
                self._files.setdefault(number, _File()).pending.append(event)
            case Synced(number):
                file = self._files.setdefault(number, _File())
                for write in file.pending:
                    _put(file.durable, write)
                file.pending.clear()
            case Content(number, data):
                self._files[number] = _File(bytearray(data))
            case Listed(number, names):
                self._root = self._root or number  # the first one is the root's
                self._folders[number] = names
            case Said():
                pass

    def pending_bytes(self) -> int:
        """What a power loss now would take."""
        return sum(len(w.data or b"") for file in self._files.values() for w in file.pending)

    def write_to(self, folder: Path, some: random.Random | None = None) -> None:
        """Make `folder` as the disk is after the power loss. With `some`, a part of what was written and not synced
        is there as well: a device writes its cache in whatever order it likes, sector by sector.
        """
        self._write_folder(self._root, folder, some)

    def _write_folder(self, number: int, folder: Path, some: random.Random | None) -> None:
        folder.mkdir(mode=0o700)
        for name, (inside, is_folder) in self._folders.get(number, {}).items():
            if is_folder:
                self._write_folder(inside, folder / name, some)
                continue
            descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT, 0o600)
            with open(descriptor, "wb") as out:
                out.write(self._content(inside, some))

    def _content(self, number: int, some: random.Random | None) -> bytes:
        file = self._files.get(number, _File())
        if some is None or not file.pending:
            return bytes(file.durable)
        content = bytearray(file.durable)
        for write in file.pending:
            for part in _sectors(write):
                if some.random() < 0.5:
                    _put(content, part)
        return bytes(content)


def _put(content: bytearray, write: Wrote) -> None:
    if write.data is None:
        del content[write.offset :]
    missing = write.offset - len(content)
    if missing > 0:
        content += bytes(missing)
    if write.data is not None:
        content[write.offset : write.offset + len(write.data)] = write.data


def _sectors(write: Wrote) -> Iterator[Wrote]:
    if write.data is None:
        yield write
        return
    start = 0
    while start < len(write.data):
        end = min(len(write.data), start + SECTOR - (write.offset + start) % SECTOR)
        yield Wrote(write.file, write.offset + start, write.data[start:end])
        start = end


def read_log(path: Path) -> list[Event]:
    """Whole events: of one that a kill cut off there is nothing to know."""
    events: list[Event] = []
    with path.open("rb") as log:
        while True:
            try:
                events.append(pickle.load(log))  # noqa: S301 - our own child wrote it
            except (EOFError, pickle.UnpicklingError):
                return events
