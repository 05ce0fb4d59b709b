"""What all processes of a machine know of a database that they share with other machines: a small mapped file.

`<id>.lease` beside the database: whether this machine owns it and until when, and which write its copy holds. A word
is stored and loaded whole; stores happen under the lock of the database's writers, but for `extend`. It is of one boot
of the machine: what a power loss left of the copy is not known, so it is worth nothing afterwards.
"""

from __future__ import annotations

import mmap
import os
import time
from pathlib import Path
from typing import Final

from storage.failures import from_os_error

_WORDS: Final = 8
_BOOT, _EPOCH, _UNTIL, _SEQ, _TAG, _BEGUN, _TAKEN, _OWN_TAG = range(_WORDS)
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def now_ns() -> int:
    """A clock of the whole machine that goes on while it sleeps."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def this_boot() -> int:
    return int(_BOOT_ID.read_text().replace("-", "")[:15], 16) | 1


def was_shared(path: Path) -> bool:
    """Whether the database of the record `path` has ever been one of several machines'."""
    try:
        return any(path.read_bytes()[:8])
    except FileNotFoundError:
        return False


class LeaseRecord:
    """`close` it."""

    __slots__ = ("_map", "_words")

    def __init__(self, path: Path) -> None:
        """Map `path`; made empty when it is missing. Raises StorageError."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                # Real bytes, not a hole: a store into a hole on a full disk ends the process (SIGBUS).
                os.posix_fallocate(descriptor, 0, 8 * _WORDS)
                self._map = mmap.mmap(descriptor, 8 * _WORDS)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise from_os_error(error, path) from error
        self._words = memoryview(self._map).cast("Q")

    def close(self) -> None:
        self._words.release()
        self._map.close()

    # -- whose it is -----------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """Of this machine's ownership; 0: it has none."""
        return self._words[_EPOCH]

    @property
    def left_s(self) -> float:
        """For how long it is this machine's yet; negative: it is not, or no longer."""
        words = self._words
        if not words[_EPOCH] or words[_BOOT] != BOOT:
            return -1.0
        return (words[_UNTIL] - now_ns()) / 1e9

    @property
    def held(self) -> bool:
        return self.left_s > 0

    @property
    def held_for_s(self) -> float:
        return (now_ns() - self._words[_TAKEN]) / 1e9

    @property
    def own_tag(self) -> int:
        """Of what this owner writes."""
        return self._words[_OWN_TAG]

    def taken(self, epoch: int, own_tag: int, until_ns: int) -> None:
        """It is ours, and the copy is what it has to be."""
        words = self._words
        words[_OWN_TAG], words[_TAKEN], words[_BOOT] = own_tag, now_ns(), BOOT
        words[_UNTIL] = until_ns
        words[_EPOCH] = epoch

    def extend(self, epoch: int, until_ns: int) -> None:
        """The same owner has it for longer. Without the lock: whoever took it meanwhile got a later end."""
        if self._words[_EPOCH] == epoch and until_ns > self._words[_UNTIL]:
            self._words[_UNTIL] = until_ns

    def given_back(self) -> None:
        self._words[_EPOCH] = 0
        self._words[_UNTIL] = 0

    # -- what the copy holds ---------------------------------------------------------------------------

    @property
    def copy(self) -> tuple[int, int] | None:
        """(number, tag) of the last write that it holds; None: it is not known to hold anything."""
        words = self._words
        if words[_BOOT] != BOOT or words[_BEGUN] or not words[_SEQ]:
            return None
        return words[_SEQ], words[_TAG]

    @property
    def is_new(self) -> bool:
        """The database was never one of several machines'."""
        return not self._words[_BOOT]

    @property
    def seq(self) -> int:
        return self._words[_SEQ]

    @property
    def begun(self) -> int:
        """The number of a write that others may see here and that is not kept yet; 0: there is none."""
        return self._words[_BEGUN]

    def begin(self, number: int) -> None:
        self._words[_BEGUN] = number

    def holds(self, number: int, tag: int) -> None:
        words = self._words
        words[_BOOT] = BOOT
        words[_TAG] = tag
        words[_SEQ] = number
        words[_BEGUN] = 0

    def is_void(self) -> None:
        """The copy holds what was not kept, or may: this machine gives it up, with the copy."""
        self.given_back()
        self._words[_SEQ] = 0
        self._words[_BEGUN] = 0


BOOT: Final = this_boot()
