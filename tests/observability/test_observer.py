"""One event is one access line and one set of counters; a guest's line is kept or counted as dropped."""

from __future__ import annotations

from model.identity import NamespaceName, ScriptName
from model.scripts import ScriptRef
from observability.access_log import AccessLog
from observability.log_ring import LogRings
from observability.metrics import Counters
from observability.observer import HostObserver
from tests.observability.records import event, log_line


def test_event_is_one_line_and_counted_once() -> None:
    written: list[bytes] = []
    counters, log = Counters(), AccessLog(written.append)
    observer = HostObserver(counters, log, LogRings().append)
    observer.completed(event())
    assert log.close()
    assert b"".join(written).count(b"\n") == 1
    assert counters.samples()["tenantry_events_total", ("fetch", "ok")] == [1]


def test_guests_line_reaches_its_ring_and_is_counted() -> None:
    rings, counters, log = LogRings(), Counters(), AccessLog(lambda data: None)
    HostObserver(counters, log, rings.append).logged(log_line("hello"))
    ref = ScriptRef(NamespaceName("production"), ScriptName("hello"))
    assert [line.text for line in rings.read(ref, 0)[0]] == ["hello"]
    assert counters.samples()["tenantry_log_lines_total", ()] == [1]
    log.close()


def test_line_without_room_is_counted_as_dropped() -> None:
    counters, log = Counters(), AccessLog(lambda data: None)
    HostObserver(counters, log, lambda line: False).logged(log_line("hello"))
    assert counters.samples()["tenantry_log_lines_dropped_total", ()] == [1]
    assert counters.samples()["tenantry_log_lines_total", ()] == [0]
    log.close()


def test_snapshot_has_what_the_access_log_lost() -> None:
    def broken(data: bytes) -> None:
        raise BrokenPipeError

    counters, log = Counters(), AccessLog(broken)
    observer = HostObserver(counters, log, lambda line: True)
    observer.completed(event())
    assert log.close()
    assert ["tenantry_access_lines_dropped_total", [], [1]] in observer.snapshot()
