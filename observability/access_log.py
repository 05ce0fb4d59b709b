"""One JSON line an event, written by a thread of its own, so that a slow stdout never holds a request.

Lines wait at most 50 ms or until there are 64 KiB of them; more than 4 MiB are not kept waiting but dropped
and counted. Several processes may share one pipe: a write to it is whole lines of at most PIPE_BUF bytes
together, which the kernel never mixes with another's (POSIX write, "Atomic").
"""

from __future__ import annotations

import os
import select
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping

import msgspec

from model.clock import unix_ms
from model.observer import EventRecord

FLUSH_S = 0.05
FLUSH_BYTES = 64 * 1024
MAX_WAITING_BYTES = 4 << 20
#: A line fits into one write to a pipe; its free texts are cut until it does.
MAX_LINE_BYTES = select.PIPE_BUF

Write = Callable[[bytes], None]


#: What an event's line has.
FIELDS = ("at_ms", *EventRecord.__struct_encode_fields__, "process")


class AccessLog:
    """`line` is for one thread (the loop's); `write` is called on the log's own thread and may block. `process`
    names whose events these are.

    A `write` that raises OSError loses the lines it was given; they are counted and the next are tried.
    """

    def __init__(self, write: Write, process: str = "") -> None:
        self._write = write
        self._encode = msgspec.json.Encoder().encode
        #: How each event's line ends.
        self._end = b'"process":%b}' % self._encode(process)
        self._lines: deque[bytes] = deque()
        # Two counters with one writer each, instead of one that two threads would have to lock.
        self._bytes_in = 0
        self._bytes_out = 0
        self._dropped = 0
        self._lost = 0
        self._awake = False
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Lines that nobody will see: there was no room for them, or `write` failed."""
        return self._dropped + self._lost

    def line(self, record: EventRecord) -> None:
        """Never waits, never raises."""
        if self._is_full():
            return
        try:
            text = self._text(record)
        except UnicodeEncodeError:  # half a surrogate pair, from a guest's text
            text = self._text(_shortened(record, len(record.path), len(record.error)))
        if len(text) >= MAX_LINE_BYTES:
            # A byte may become six (\\u0000), and a name is never longer than 253.
            text = self._text(_shortened(record, 256, 128))
        self._add(text)

    def _text(self, record: EventRecord) -> bytes:
        return b'{"at_ms":%d,%b,%b' % (unix_ms(), self._encode(record)[1:-1], self._end)

    def entry(self, fields: Mapping[str, object]) -> None:
        """A line of another kind, such as an egress decision; its texts are bounded and whole characters."""
        if not self._is_full():
            self._add(self._encode(fields))

    def _is_full(self) -> bool:
        if self._bytes_in - self._bytes_out > MAX_WAITING_BYTES:
            self._dropped += 1
            return True
        return False

    def _add(self, text: bytes) -> None:
        waiting = self._bytes_in - self._bytes_out
        self._lines.append(text)
        self._bytes_in += len(text) + 1
        if not self._awake:
            self._awake = True
            self._wake.set()
        if waiting >= FLUSH_BYTES and not self._hurry.is_set():
            self._hurry.set()

    def flush(self, timeout_s: float = 2.0) -> bool:
        """Wait until all lines so far are written, for shutdown; False when `timeout_s` was not enough."""
        ends_at = time.monotonic() + timeout_s
        while self._bytes_out < self._bytes_in:
            if time.monotonic() >= ends_at:
                return False
            self._hurry.set()
            self._wake.set()
            time.sleep(0.001)
        return True

    def close(self, timeout_s: float = 2.0) -> bool:
        """`flush`, then end the thread, which a `write` that never returns keeps."""
        done = self.flush(timeout_s)
        self._closed = True
        self._hurry.set()
        self._wake.set()
        self._thread.join(timeout_s if done else 0)
        return done

    def _run(self) -> None:
        while not self._closed:
            self._wake.wait()
            self._hurry.wait(FLUSH_S)
            self._wake.clear()
            self._hurry.clear()
            # In this order: a line that comes now finds `_awake` true and is taken below, or wakes us again.
            self._awake = False
            while self._lines:
                self._put(self._take())

    def _take(self) -> list[bytes]:
        taken: list[bytes] = []
        size = 0
        while self._lines and size < FLUSH_BYTES:
            line = self._lines.popleft()
            taken.append(line)
            size += len(line) + 1
        return taken

    def _put(self, lines: list[bytes]) -> None:
        data = b"\n".join(lines) + b"\n"
        try:
            self._write(data)
        except OSError:
            self._lost += len(lines)
        self._bytes_out += len(data)


def to_descriptor(descriptor: int) -> Write:
    """A `write` for AccessLog that puts whole lines to a descriptor (1: stdout), blocking or not."""
    is_pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)

    def write(data: bytes) -> None:
        start = 0
        while start < len(data):
            end = len(data)
            if is_pipe and end - start > MAX_LINE_BYTES:
                end = data.rfind(b"\n", start, start + MAX_LINE_BYTES) + 1
            start += _write_some(descriptor, data[start : end or len(data)])

    return write


def _write_some(descriptor: int, data: bytes) -> int:
    try:
        return os.write(descriptor, data)
    except BlockingIOError:
        # Somebody who shares the descriptor made it non-blocking; this thread may wait.
        select.select((), (descriptor,), ())
        return 0


def _shortened(record: EventRecord, path: int, error: int) -> EventRecord:
    """With the beginnings of its free texts, of whole characters."""
    return msgspec.structs.replace(
        record, path=_encodable(record.path[:path]), error=_encodable(record.error[:error])
    )


def _encodable(text: str) -> str:
    return text.encode(errors="replace").decode()
