"""What a worker process tells of its events: counted, written to the access log, log lines handed on."""

from __future__ import annotations

from collections.abc import Callable

from model.observer import EventRecord, LogLine, Observer
from observability.access_log import AccessLog
from observability.metrics import Counters

#: Takes a guest's line; False when there was no room: `LogRings.append`, or a channel's notify.
LogSink = Callable[[LogLine], bool]


class HostObserver(Observer):
    """For one thread, the loop's. Nothing here waits or raises."""

    def __init__(self, counters: Counters, access_log: AccessLog, log: LogSink) -> None:
        self._count = counters.event
        self._write = access_log.line
        self._log = log
        self._kept = counters.count("tenantry_log_lines_total")
        self._dropped = counters.count("tenantry_log_lines_dropped_total")
        self._counters = counters
        self._access_log = access_log

    def completed(self, record: EventRecord) -> None:
        self._count(record)
        self._write(record)

    def logged(self, line: LogLine) -> None:
        if self._log(line):
            self._kept.value += 1
        else:
            self._dropped.value += 1

    def snapshot(self) -> list[list[object]]:
        """`Counters.snapshot` with what the access log dropped."""
        self._counters.count("tenantry_access_lines_dropped_total").value = self._access_log.dropped
        return self._counters.snapshot()
