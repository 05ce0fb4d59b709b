"""Starts one control process and the workers, starts again what dies, and ends them all in order.

Workers at the door take connections; those of isolation groups, if there are any, answer what is handed over to
them, each through a door of its own (`processes.doors`).

It runs no tenant code and no API, and holds what must outlive a process: listeners and channels.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from processes.bootstrap import process_name
from processes.channel import Channel, channel_pair
from processes.child import Child, ProcessSpec
from processes.confinement import InForce
from processes.doors import door_pair
from processes.restarts import RestartPolicy
from processes.visitors import visitors_pair

#: For control to flush and exit, after the workers have gone.
_CONTROL_STOP_S: Final = 5.0
_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
#: To end after its drain, and to be ready again: what one worker may take of a reload before it is killed.
_RECYCLE_S: Final = 30.0

Log = Callable[[Mapping[str, object]], None]


def log_to_stderr(entry: Mapping[str, object]) -> None:
    """One JSON line."""
    try:
        sys.stderr.write(json.dumps(entry) + "\n")
        sys.stderr.flush()
    except OSError:
        pass  # whoever read it has gone; that is no reason to stop serving


class Supervisor:
    """`await run()` until SIGTERM or SIGINT; one a process, in its main thread. SIGHUP gives each worker a fresh
    process, one after another.

    The main thread matters: children die with the thread that started them.
    """

    def __init__(
        self,
        *,
        control: ProcessSpec,
        worker: ProcessSpec,
        workers: int,
        groups: Sequence[tuple[ProcessSpec, int]] = (),
        drain_s: float = 30.0,
        policy: RestartPolicy | None = None,
        log: Log = log_to_stderr,
        in_force: InForce | None = None,
    ) -> None:
        """`groups`: of each isolation group what to run, and how many of it. `in_force`: what holds this process."""
        if workers < 1:
            raise ValueError(f"{workers} workers; at least 1 is right")
        self._control_spec = control
        self._worker_spec = worker
        self._workers = workers
        self._groups = groups
        self._drain_s = drain_s
        self._policy = policy or RestartPolicy()
        self._log = log
        self._told = None if in_force is None else (in_force.held, in_force.missing)
        self._children: list[Child] = []
        self._to_control: Channel | None = None
        self._stopping: asyncio.Event | None = None
        self._stops = 0
        self._all_ready = asyncio.Event()
        self._moved = asyncio.Event()
        self._reloading: asyncio.Task[None] | None = None
        self._tell_again: asyncio.TimerHandle | None = None

    def status(self) -> list[dict[str, object]]:
        """Of each process, control first: kind, index, group, name, pid, state, restarts, last_exit."""
        return [child.status() for child in self._children]

    def stop(self) -> None:
        """As SIGTERM. A second time: don't wait for the drain."""
        self._stops += 1
        if self._stopping is not None:
            self._stopping.set()
        if self._stops > 1:
            for child in self._children:
                child.stop(signal.SIGKILL)

    def reload(self) -> None:
        """As SIGHUP: each worker process in turn drains and is replaced, so that new visitors always find one; those of
        a single one wait for its successor.

        That loads code anew: hooks, a wasmtime that was upgraded. During a reload another is ignored.
        """
        if self._reloading is None or self._reloading.done():
            self._reloading = asyncio.get_running_loop().create_task(self._recycle_workers())

    async def ready(self) -> None:
        """Returns when each process has been running at the same time, for the first time."""
        await self._all_ready.wait()

    async def run(self) -> int:
        """0, after an orderly stop. Raises OSError when a listener cannot be made."""
        loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        if self._stops:
            self._stopping.set()
        for number in _STOP_SIGNALS:
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        grouped = sum(count for _, count in self._groups)
        pairs = [channel_pair() for _ in range(1 + self._workers + grouped)]
        doors = [door_pair() for _ in range(grouped)]
        visitors = visitors_pair()
        try:
            self._prepare(pairs, doors, visitors)
            for child in self._children:
                child.start()
            await self._stopping.wait()
            await self._shut_down()
        finally:
            for child in self._children:
                child.stop(signal.SIGKILL)
            await self._gone(self._children, None)
            if self._tell_again is not None:
                self._tell_again.cancel()
            if self._to_control is not None:
                self._to_control.close()
            for ends in (*pairs, *doors, visitors):
                for end in ends:
                    end.close()
            for number in (*_STOP_SIGNALS, signal.SIGHUP):
                loop.remove_signal_handler(number)
        return 0

    def _prepare(
        self,
        pairs: Sequence[tuple[socket.socket, socket.socket]],
        doors: Sequence[tuple[socket.socket, socket.socket]],
        visitors: tuple[socket.socket, socket.socket],
    ) -> None:
        (ours, theirs), *others = pairs
        self._to_control = Channel(ours)
        self._to_control.on_request("processes", self._asked_for_status)
        self._to_control.start()
        at_door = [(self._worker_spec, index) for index in range(self._workers)]
        grouped = [(spec, index) for spec, count in self._groups for index in range(count)]
        named = [process_name(spec.kind, spec.group, index) for spec, index in (*at_door, *grouped)]
        to_workers = {name: near for name, (near, _) in zip(named, others, strict=True)}
        near_doors = {name: near for name, (near, _) in zip(named[self._workers :], doors, strict=True)}
        self._add(self._control_spec, 0, {"supervisor": theirs, **to_workers}, {})
        for number, (spec, index) in enumerate((*at_door, *grouped)):
            is_at_door = number < self._workers
            mine = near_doors if is_at_door else {"": doors[number - self._workers][1]}
            self._add(spec, index, {"control": others[number][1]}, mine, visitors if is_at_door else None)

    def _add(
        self,
        spec: ProcessSpec,
        index: int,
        channels: Mapping[str, socket.socket],
        doors: Mapping[str, socket.socket],
        visitors: tuple[socket.socket, socket.socket] | None = None,
    ) -> None:
        child = Child(spec, index, channels, self._policy, self._child_changed, doors, visitors)
        self._children.append(child)

    async def _recycle_workers(self) -> None:
        for child in self._children[1:]:
            self._write("reload", child)
            child.recycle(signal.SIGTERM)
            try:
                async with asyncio.timeout(self._drain_s + _RECYCLE_S):
                    while child.recycling or child.state != "running":
                        self._moved.clear()
                        await self._moved.wait()
            except TimeoutError:
                self._write("killed", child)
                child.recycle(signal.SIGKILL)

    async def _shut_down(self) -> None:
        control, *workers = self._children
        if self._reloading is not None:
            self._reloading.cancel()
        self._tell_control()
        # Control last: a worker that drains may still want a secret's key, and hands in its last figures.
        await self._end(workers, self._drain_s)
        await self._end([control], min(self._drain_s, _CONTROL_STOP_S))

    async def _end(self, children: Sequence[Child], timeout_s: float) -> None:
        for child in children:
            child.stop(signal.SIGTERM)
        await self._gone(children, timeout_s)
        for child in children:
            if not child.gone.is_set():
                self._write("killed", child)
                child.stop(signal.SIGKILL)
        await self._gone(children, None)

    async def _gone(self, children: Sequence[Child], timeout_s: float | None) -> None:
        waits = [asyncio.ensure_future(child.gone.wait()) for child in children]
        if waits:
            _, late = await asyncio.wait(waits, timeout=timeout_s)
            for wait in late:
                wait.cancel()

    def _child_changed(self, child: Child) -> None:
        self._write("state", child)
        self._moved.set()
        self._tell_control()
        if all(each.state == "running" for each in self._children):
            self._all_ready.set()

    def _tell_control(self) -> None:
        if self._tell_again is not None:
            self._tell_again.cancel()
            self._tell_again = None
        channel = self._to_control
        if channel is None or channel.closed:
            return
        if channel.queued_bytes:
            # Control has not read for long; yesterday's states need not queue up before today's.
            self._tell_again = asyncio.get_running_loop().call_later(1.0, self._tell_control)
        else:
            channel.notify("processes", self._report())

    async def _asked_for_status(self, payload: object) -> object:
        return self._report()

    def _report(self) -> dict[str, object]:
        own = {
            "kind": "supervisor",
            "name": "supervisor",
            "pid": os.getpid(),
            "state": "running",
            "told": self._told,
        }
        return {"processes": self.status(), "supervisor": own, "draining": self._stops > 0}

    def _write(self, event: str, child: Child) -> None:
        status = {name: value for name, value in child.status().items() if name != "told"}
        self._log({"at_s": round(time.time(), 3), "source": "supervisor", "event": event, **status})
