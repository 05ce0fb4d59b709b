"""The last lines that each script's guests wrote, for `tenantry logs`; bounded in every direction.

Lives in control, which gets the lines of all worker processes. A cursor is a number that only grows, over
all scripts and over restarts (it starts from the clock), so a reader that comes back with an old one is
never shown a line twice.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict, deque
from collections.abc import Sequence

from model.clock import unix_ms
from model.identity import NamespaceName, RayId, ScriptName
from model.observer import LogLine, text_bytes
from model.scripts import ScriptRef

LINES_PER_SCRIPT = 1_000
SCRIPTS = 10_000
BYTES_PER_SCRIPT = 256 * 1024
#: Of all scripts together: the one that wrote longest ago goes first.
TOTAL_BYTES = 64 << 20
#: What a line costs beside its text.
LINE_OVERHEAD = 200

#: A LogLine as it travels between processes.
WireLine = tuple[int, int, str, str, str | None, str, str, str]


_DIGEST = re.compile("[0-9a-f]{64}")


class InvalidLogLine(ValueError):
    """Another process sent what is no log line."""


class _Ring:
    __slots__ = ("bytes", "lines")

    def __init__(self) -> None:
        self.lines: deque[tuple[int, LogLine]] = deque()
        self.bytes = 0


class LogRings:
    """For one thread, the loop's."""

    def __init__(
        self,
        lines_per_script: int = LINES_PER_SCRIPT,
        scripts: int = SCRIPTS,
        bytes_per_script: int = BYTES_PER_SCRIPT,
        total_bytes: int = TOTAL_BYTES,
    ) -> None:
        self._lines_per_script = lines_per_script
        self._scripts = scripts
        self._bytes_per_script = bytes_per_script
        self._total_bytes = total_bytes
        #: The script that wrote longest ago comes first.
        self._rings: OrderedDict[ScriptRef, _Ring] = OrderedDict()
        self._bytes = 0
        # Microseconds: at less than a million lines a second no number is given twice over restarts, and
        # they fit into a JSON number (2^53) until the year 2255.
        self._cursor = unix_ms() * 1000
        self._waiters: dict[ScriptRef, set[asyncio.Future[None]]] = {}

    def append(self, line: LogLine) -> bool:
        """Keep it, forgetting the oldest where there is no room; always True (it is a log sink)."""
        ref = ScriptRef(line.namespace, ScriptName(line.script))
        self._cursor += 1
        ring = self._rings.get(ref)
        if ring is None:
            ring = self._rings[ref] = _Ring()
            if len(self._rings) > self._scripts:
                self._forget_oldest_script()
        else:
            self._rings.move_to_end(ref)
        ring.lines.append((self._cursor, line))
        self._grow(ring, _size(line))
        while len(ring.lines) > self._lines_per_script or (
            ring.bytes > self._bytes_per_script and len(ring.lines) > 1
        ):
            self._grow(ring, -_size(ring.lines.popleft()[1]))
        while self._bytes > self._total_bytes and len(self._rings) > 1:
            self._forget_oldest_script()
        for waiter in self._waiters.pop(ref, ()):
            if not waiter.done():
                waiter.set_result(None)
        return True

    def read(self, ref: ScriptRef, after: int = 0) -> tuple[Sequence[LogLine], int]:
        """The kept lines after the cursor `after` (0: all), oldest first, and the cursor to go on from."""
        ring = self._rings.get(ref)
        if ring is None or ring.lines[-1][0] <= after:
            return [], after
        return [line for cursor, line in ring.lines if cursor > after], ring.lines[-1][0]

    async def wait(self, ref: ScriptRef, after: int, timeout_s: float) -> bool:
        """True once there is a line after `after`; False after `timeout_s` seconds."""
        if self.read(ref, after)[0]:
            return True
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(ref, set()).add(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                await waiter
        except TimeoutError:
            return False
        finally:
            waiting = self._waiters.get(ref)
            if waiting is not None:
                waiting.discard(waiter)
                if not waiting:
                    del self._waiters[ref]
        return True

    def forget(self, ref: ScriptRef) -> None:
        """The script was deleted: one that takes its name later must not show its lines."""
        ring = self._rings.pop(ref, None)
        if ring is not None:
            self._bytes -= ring.bytes

    def _grow(self, ring: _Ring, size: int) -> None:
        ring.bytes += size
        self._bytes += size

    def _forget_oldest_script(self) -> None:
        self._bytes -= self._rings.popitem(last=False)[1].bytes


def _size(line: LogLine) -> int:
    return text_bytes(line.text) + LINE_OVERHEAD


def to_wire(line: LogLine) -> WireLine:
    return (
        line.at_ms,
        line.level,
        line.text,
        line.ray_id,
        line.namespace,
        line.script,
        line.tenant,
        line.module,
    )


def from_wire(value: object) -> LogLine:
    """Check a line that came from a worker process. Raises InvalidLogLine."""
    if not isinstance(value, list | tuple) or len(value) != 8:
        raise InvalidLogLine("a log line is [at_ms, level, text, ray id, namespace, script, tenant, module]")
    at_ms, level, text, ray_id, namespace, script, tenant, module = value
    if type(at_ms) is not int or type(level) is not int or not 0 <= level <= 4:
        raise InvalidLogLine("a log line's time is in ms and its level 0 to 4")
    if not all(isinstance(each, str) for each in (text, ray_id, script, tenant, module)):
        raise InvalidLogLine("a log line's text, ray id, script, tenant and module are strings")
    if module and not _DIGEST.fullmatch(module):
        raise InvalidLogLine("a log line's module is a digest, or nothing")
    if namespace is not None and not isinstance(namespace, str):
        raise InvalidLogLine("a log line's namespace is a string or nothing")
    return LogLine(
        at_ms,
        level,
        text,
        RayId(ray_id),
        None if namespace is None else NamespaceName(namespace),
        script,
        tenant,
        module,
    )
