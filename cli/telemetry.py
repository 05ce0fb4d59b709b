"""What a worker process tells of itself: access lines on stdout, counters and guests' lines to control."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from typing import Final

from cli.analytics_keeping import PointOutbox
from cli.audit_keeping import AuditOutbox, encodable
from cli.data_plane import DataPlane
from edge.door import Door
from model.observer import LogLine
from observability.access_log import AccessLog, Write, to_descriptor
from observability.log_ring import WireLine, to_wire
from observability.metrics import Counters
from observability.observer import HostObserver
from outbound.audit import AuditQueue, AuditRecord
from processes.channel import Channel

_LINES_S: Final = 0.1
_SNAPSHOT_S: Final = 1.0
_STDOUT: Final = 1
#: Guests' lines that wait for the next send; more are dropped and counted.
_MAX_WAITING: Final = 20_000
#: Of their text: control may have stopped reading, and a line may have 16 KiB.
_MAX_WAITING_BYTES: Final = 8 << 20
_LINES_A_MESSAGE: Final = 200
#: Of an audit record, what its line on stdout has.
_LINE: Final = tuple(
    name for name in AuditRecord.__slots__ if name not in ("tags", "params", "egress_hosts", "outbound")
)


class WorkerTelemetry:
    """One a process. `observer`, `audit` and `points` never wait; `start` begins sending, `close` sends the rest."""

    def __init__(self, control: Channel, name: str, write: Write | None = None) -> None:
        self._control = control
        # Its own while it lives: the numbers of a process that died stay in the sum.
        self._name = f"{name}/{os.getpid()}"
        self._write = write or to_descriptor(_STDOUT)
        self._counters = Counters()
        self._access_log = AccessLog(self._write, name)
        self._waiting: deque[WireLine] = deque()
        self._waiting_bytes = 0
        self.observer = HostObserver(self._counters, self._access_log, self._keep_line)
        self.audit = AuditQueue(self._write_audit)
        self._unready: Callable[[], list[str]] = list
        self._door: Door | None = None
        self._outbox = AuditOutbox(lambda rows: control.notify("audit", rows))
        self.points = PointOutbox(lambda points: control.notify("points", points))
        self._tasks: list[asyncio.Task[None]] = []

    def watch(self, plane: DataPlane) -> None:
        """Take the gauges and the readiness from here at each snapshot."""
        self._unready = plane.unready
        self._counters.gauge("tenantry_running_events", lambda: plane.admission.running)
        self._counters.gauge("tenantry_suspended_events", lambda: plane.admission.suspended)

    def watch_door(self, door: Door) -> None:
        """Count from here whom the door turned away before, or broke off while, a worker answered."""
        self._door = door

    def queue_settled(self, result: str, count: int) -> None:
        self._counters.count("tenantry_queue_messages_total", result).value += count

    def traces(self, result: str, count: int) -> None:
        self._counters.count("tenantry_traces_total", result).value += count

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._send_lines()), loop.create_task(self._send_snapshots())]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self.audit.flush()
        self._outbox.flush()
        self.points.flush()
        self._send_waiting()
        self._send_snapshot()
        await asyncio.sleep(0.05)  # the channel writes on the loop's next turns
        self._access_log.close()

    def _keep_line(self, line: LogLine) -> bool:
        size = len(line.text)
        if len(self._waiting) >= _MAX_WAITING or self._waiting_bytes + size > _MAX_WAITING_BYTES:
            return False
        self._waiting_bytes += size
        self._waiting.append(to_wire(line))
        return True

    async def _send_lines(self) -> None:
        while True:
            await asyncio.sleep(_LINES_S)
            self._send_waiting()
            self._outbox.flush()
            self.points.flush()

    def _send_waiting(self) -> None:
        waiting = self._waiting
        while waiting:
            lines = [waiting.popleft() for _ in range(min(len(waiting), _LINES_A_MESSAGE))]
            self._waiting_bytes -= sum(len(line[2]) for line in lines)
            if not self._control.notify("lines", lines):
                self._counters.count("tenantry_channel_messages_dropped_total").value += 1
                return

    async def _send_snapshots(self) -> None:
        while True:
            await asyncio.sleep(_SNAPSHOT_S)
            self._send_snapshot()

    def _send_snapshot(self) -> None:
        self._counters.count("tenantry_audit_records_dropped_total").value = (
            self.audit.dropped + self._outbox.dropped
        )
        self._counters.count("tenantry_analytics_points_dropped_total").value = self.points.dropped
        if self._door is not None:
            for status, count in self._door.refused.items():
                self._counters.count("tenantry_door_refused_total", str(status)).value = count
            for direction, count in self._door.slow.items():
                self._counters.count("tenantry_slow_visitors_total", direction).value = count
        self._control.notify("metrics", [self._name, self.observer.snapshot(), self._unready()])

    def _write_audit(self, record: AuditRecord) -> None:
        reason = record.reason.value
        self._counters.count("tenantry_egress_decisions_total", record.result.value, reason).value += 1
        self._outbox.add(record)
        # What else it was decided by may be long, and is in the audit.
        fields = {name: getattr(record, name) for name in _LINE}
        fields["path"] = record.path[:512]
        fields["method"] = encodable(record.method)
        if record.outbound is not None:
            fields["outbound"] = asdict(record.outbound)
        self._access_log.entry({"event": "egress", **fields})
