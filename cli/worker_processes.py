"""The worker processes as control sees them: through their channels, and as the supervisor reports."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, Final

from cli.analytics_keeping import PointKeeper
from cli.audit_keeping import AuditKeeper
from cli.worker_lines import WorkerLines
from control.envelope import ApiError, Code
from control.leftovers import Removed
from control.queue_gauges import QueueGauges
from model.isolation import DEFAULT_GROUP, IsolationGroups
from model.scripts import ScriptRef, ScriptVersion
from observability.kept_totals import KeptTotals
from observability.log_ring import LogRings
from observability.metrics import Counters
from observability.totals import InvalidSnapshot, exposition
from processes.channel import Channel, ChannelError
from processes.in_force import describe, kernel_view
from storage.queue_protocol import Settled
from storage.replication.replica import nothing

_log = logging.getLogger("tenantry.control")

#: A triggered event may take as long as a cron tick.
_TRIGGER_S: Final = 16 * 60.0


class WorkerProcesses:
    """The worker processes as control sees them: through their channels, and as the supervisor reports."""

    def __init__(
        self,
        channels: Mapping[str, Channel],
        groups: IsolationGroups,
        script: Callable[[ScriptRef], ScriptVersion | None],
        totals: KeptTotals,
    ) -> None:
        """`script`: what is deployed now."""
        self.channels = {name: channel for name, channel in channels.items() if name != "supervisor"}
        self.totals = totals
        self.rings = LogRings()
        self.counters = Counters()
        self.reported: list[Mapping[str, Any]] = []
        self._supervisor: Mapping[str, Any] = {}
        #: Name and process id of each worker process that was last reported, of those that start as well.
        self._alive: set[str] = set()
        self.draining = False
        self._dropped_audit: Callable[[], int] = int
        self._points: PointKeeper | None = None
        self._refresh_replicas: Callable[[], None] = nothing
        self._reporting = set(totals.processes)
        self._unready: dict[str, list[str]] = {}
        self._groups = groups
        self._script = script
        self._turns = {
            group: itertools.cycle(
                [channel for name, channel in self.channels.items() if group_of_process(name) == group]
            )
            for group in (DEFAULT_GROUP, *groups.names)
        }
        lines = WorkerLines(self.rings, groups, script)
        for name, channel in self.channels.items():
            channel.on_notification("metrics", partial(self._take_metrics, name))
            channel.on_notification("lines", partial(lines.take, group_of_process(name)))
        supervisor = channels["supervisor"]
        supervisor.on_notification("processes", self._take_report)
        # Snapshots leave zeros out; a gauge that is not there would look like a host that is not there.
        self.counters.gauge("tenantry_running_events", lambda: 0)
        self.counters.gauge("tenantry_suspended_events", lambda: 0)
        self.counters.gauge("tenantry_processes", lambda: 1, "control")
        self.counters.gauge("tenantry_processes", lambda: self._running("worker"), "worker")
        for group in groups.names:
            self.counters.gauge("tenantry_group_processes", partial(self._running_of_group, group), group)

    def channel_for(self, ref: ScriptRef) -> Channel:
        """To a worker process of the script's group, the next one in turn."""
        version = self._script(ref)
        return next(self._turns[DEFAULT_GROUP if version is None else self._groups.group_of(version)])

    def queue_messages(self, result: str, count: int) -> None:
        self.counters.count("tenantry_queue_messages_total", result).value += count

    def pulls_settled(self, settled: Settled) -> None:
        for result, count in asdict(settled).items():
            self.queue_messages(result, count)

    def watch_queues(self, gauges: QueueGauges) -> None:
        self.counters.gauge("tenantry_queue_backlog_messages", gauges.messages)
        self.counters.gauge("tenantry_queue_backlog_bytes", gauges.size)
        self.counters.gauge("tenantry_queue_longest_wait", gauges.longest_wait_s)
        self.counters.gauge("tenantry_queues_paused", gauges.paused)

    def missed_runs(self, count: int) -> None:
        self.counters.count("tenantry_cron_missed_total").value += count

    async def trigger(self, ref: ScriptRef, kind: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """Run an event in a worker process of the script's group, the next one in turn."""
        wanted = {"namespace": ref.namespace, "script": ref.script, "kind": kind, "event": dict(payload)}
        try:
            answer = await self.channel_for(ref).request("trigger", wanted, _TRIGGER_S)
        except ChannelError as error:
            raise ApiError(503, Code.INTERNAL, f"no worker process ran it: {error}; try again") from error
        if not isinstance(answer, Mapping):
            raise ApiError(500, Code.INTERNAL, "a worker process gave no answer")
        if "refused" in answer:
            raise ApiError(400, Code.VALIDATION, str(answer["refused"]))
        return answer

    async def ask_d1(
        self, groups: IsolationGroups, namespace: str | None, asked: Mapping[str, Any], timeout_s: float
    ) -> object:
        """Of a worker process in which scripts of `namespace` run. Raises ChannelError."""
        names = (DEFAULT_GROUP, *groups.names)
        group = next((name for name in names if groups.may_run(namespace, name)), DEFAULT_GROUP)
        return await next(self._turns[group]).request("d1", asked, timeout_s)

    def keep_audit(self, keeper: AuditKeeper) -> None:
        """Take the workers' audit records there, and count what it drops."""
        for channel in self.channels.values():
            channel.on_notification("audit", keeper.take)
        self._dropped_audit = lambda: keeper.dropped

    def keep_points(self, keeper: PointKeeper) -> None:
        """Take the workers' data points there, and count what becomes of them."""
        for name, channel in self.channels.items():
            channel.on_notification("points", partial(keeper.take, group_of_process(name)))
        self._points = keeper

    def watch_replicas(self, refresh: Callable[[], None]) -> None:
        """`refresh` brings the counts of replication up to date."""
        self._refresh_replicas = refresh

    def control_loaded(self) -> None:
        """control.db is another than it was: what worker processes keep of it is void."""
        for channel in self.channels.values():
            channel.notify("control_loaded")

    def unready(self) -> Sequence[str]:
        if self.draining:
            return ["draining"]
        workers = [p for p in self.reported if p["kind"] == "worker"]
        reasons = {str(p["name"]): [str(p["state"])] for p in workers if p["state"] != "running"}
        for name, said in self._unready.items():
            if said:
                reasons.setdefault(name.partition("/")[0], []).extend(said)
        shown = [f"{name}: {reason}" for name, found in sorted(reasons.items()) for reason in found]
        # One worker process that starts again is no outage, unless it is all that its group has; one that dies
        # over and over needs somebody.
        without = {str(p["group"]) for p in workers} - {
            str(p["group"]) for p in workers if p["name"] not in reasons
        }
        return shown if without or not workers or "crash-loop" in str(shown) else []

    def shown(self) -> list[Mapping[str, object]]:
        """Each process of the host, with what holds it: by the kernel's word, and by its own."""
        processes = [self._supervisor, *self.reported] if self._supervisor else self.reported
        return [describe(p, kernel_view(int(p["pid"])) if p["pid"] else None) for p in processes]

    def left_over(self, kind: str, removed: Removed) -> None:
        self.counters.count("tenantry_leftovers_removed_total", kind).value += removed.files
        self.counters.count("tenantry_leftovers_removed_bytes_total", kind).value += removed.size

    def metrics(self) -> str:
        self.counters.count("tenantry_audit_records_dropped_total").value = self._dropped_audit()
        if self._points is not None:
            self.counters.count("tenantry_analytics_points_total").value = self._points.written
            self.counters.count("tenantry_analytics_points_dropped_total").value = self._points.dropped
        self._refresh_replicas()
        return exposition(self.totals.shown(self.counters.samples()))

    def _running(self, kind: str) -> int:
        return sum(1 for p in self.reported if p["kind"] == kind and p["state"] == "running")

    def _running_of_group(self, group: str) -> int:
        return sum(1 for p in self.reported if p["group"] == group and p["state"] == "running")

    def _take_metrics(self, process: str, payload: object) -> None:
        # A process speaks for itself alone, whoever has it in hand.
        if isinstance(payload, Sequence) and len(payload) == 3 and str(payload[0]).startswith(f"{process}/"):
            try:
                self.totals.update(str(payload[0]), payload[1])
                self._reporting.add(str(payload[0]))
                self._unready[str(payload[0])] = [str(reason) for reason in payload[2]]
            except InvalidSnapshot as error:
                _log.error("a worker process sent no snapshot: %s", error)

    async def ask_supervisor(self, supervisor: Channel) -> None:
        """Which processes run."""
        try:
            self._take_report(await supervisor.request("processes", None, 5.0))
        except ChannelError as error:
            _log.warning("the supervisor did not say which processes run: %s", error)

    def _take_report(self, payload: object) -> None:
        if isinstance(payload, Mapping):
            self.reported = list(payload["processes"])
            self._supervisor = payload["supervisor"]
            alive = {f"{p['name']}/{p['pid']}" for p in self.reported if p["kind"] == "worker" and p["pid"]}
            for ended in self._alive - alive:
                self.channels[ended.partition("/")[0]].peer_ended()
            self._alive = alive
            for name in self._reporting - alive:
                self.totals.ended(name)
                self._unready.pop(name, None)
            self._reporting &= alive
            self.draining = bool(payload["draining"])
            for process in self.reported:
                count = self.counters.count("tenantry_process_restarts_total", str(process["kind"]))
                same_kind = [p for p in self.reported if p["kind"] == process["kind"]]
                count.value = sum(int(p["restarts"]) for p in same_kind)
            for group in {str(p["group"]) for p in self.reported if p["group"]}:
                count = self.counters.count("tenantry_group_process_restarts_total", group)
                count.value = sum(int(p["restarts"]) for p in self.reported if p["group"] == group)


def group_of_process(name: str) -> str:
    """The isolation group of the worker process with this name."""
    group = name.rpartition("-")[0]
    return DEFAULT_GROUP if group == "worker" else group
