"""What ends a request that takes too much: time, memory, bytes written, or nobody who waits for it.

SQLite asks every few hundred steps of its program, the authorizer at each step of compiling, and our own functions
at each call. What goes on inside one function of SQLite's can't be ended; `functions` bounds those that can be long.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import Enum
from typing import Final

import apsw

from storage.d1.limits import D1Limits

#: Steps between two looks: some 50 µs of plain work.
STEPS: Final = 1_000
#: Of a request that runs on the event loop: CPU time, and time in which the disk may have been waited for.
ON_LOOP_CPU_S: Final = 0.001
ON_LOOP_S: Final = 0.02
_LOOK_EVERY_S: Final = 0.02
_IO: Final = "/proc/thread-self/io"


class Stopped(Enum):
    TIME = "time"
    MEMORY = "memory"
    WRITTEN = "written"
    CANCELLED = "cancelled"


@dataclass(slots=True)
class Asker:
    """Whoever waits for a request. A request that only reads ends when nobody does."""

    gone: bool = False
    #: The process is closing: writes end, too, unacknowledged.
    closing: bool = False


class Guard:
    """Of one connection, for one request at a time."""

    def __init__(self, limits: D1Limits) -> None:
        self._limits = limits
        self._asker = Asker()
        self._deadline = 0.0
        self._cpu_deadline = 0.0
        self._prepare_deadline = 0.0
        self._next_look = 0.0
        self._written = 0
        self._held = False
        #: Statements of ours are not to be ended in the middle.
        self.off = True
        #: The request runs on the event loop: it has a moment, compiles nothing and waits for nobody.
        self.on_loop = False
        #: The running request writes.
        self.writes = False
        self.why: Stopped | None = None

    def begin(self, asker: Asker) -> None:
        """A request begins."""
        now = time.monotonic()
        self._asker = asker
        if self.on_loop:
            self._deadline = now + ON_LOOP_S
            self._cpu_deadline = time.thread_time() + ON_LOOP_CPU_S
        else:
            self._deadline = now + self._limits.query_s
        self._next_look = now + _LOOK_EVERY_S
        self._written = -1
        self.why = None
        self.writes = False

    def begin_statement(self) -> None:
        self._prepare_deadline = time.monotonic() + self._limits.prepare_s

    def runs(self) -> None:
        """It is compiled; what it compiles on its way has the request's time."""
        self._prepare_deadline = self._deadline

    def left_s(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    def progress(self) -> bool:
        """True ends the statement: SQLite's progress handler."""
        return not self.off and self.must_end()

    def prepare_is_late(self) -> bool:
        now = time.monotonic()
        if now < self._prepare_deadline and now < self._deadline:
            return False
        self.why = Stopped.TIME
        return True

    def took_long(self) -> bool:
        """More CPU time than a request on the loop may have."""
        return self.on_loop and time.thread_time() >= self._cpu_deadline

    def must_end(self) -> bool:
        asker = self._asker
        if (asker.gone and not self.writes) or asker.closing:
            self.why = Stopped.CANCELLED
        elif apsw.memory_used() > self._limits.memory_bytes:
            self.why = Stopped.MEMORY
        else:
            now = time.monotonic()
            if now >= self._deadline or self.took_long():
                self.why = Stopped.TIME
            elif now >= self._next_look:
                self._next_look = now + _LOOK_EVERY_S
                written = _written_by_this_thread()
                if self._written < 0:
                    self._written = written
                if written - self._written > self._limits.written_bytes:
                    self.why = Stopped.WRITTEN
        return self.why is not None


def _written_by_this_thread() -> int:
    """Bytes handed to write(2) so far; 0 where the kernel does not count them."""
    try:
        with open(_IO, "rb") as file:
            return int(file.read().split()[3])
    except OSError:
        return 0
