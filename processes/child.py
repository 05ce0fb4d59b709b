"""One supervised process: its descriptors, which outlive it, and the life that it has now."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgpack

from processes.bootstrap import LEAVING, PIPE_VARIABLE, READY, pack, process_name
from processes.listeners import PortGroup
from processes.restarts import RestartHistory, RestartPolicy
from processes.visitors import StandIn

#: Up to here a back-off leaves the listener open: it is hardly longer than a start.
_SHORT_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """What to run: `argv`, given `config` (MessagePack-able, may hold secrets) and a listener of `port`, if any.

    `group`: the isolation group whose process it is; "" for those at the door, and control.
    """

    kind: str
    argv: Sequence[str]
    config: Mapping[str, object]
    port: PortGroup | None
    group: str = ""


class Child:
    """States: "starting", "running", "back-off", "crash-loop" (until it has lived well), "stopped"."""

    def __init__(
        self,
        spec: ProcessSpec,
        index: int,
        channels: Mapping[str, socket.socket],
        policy: RestartPolicy,
        changed: Callable[[Child], None],
        doors: Mapping[str, socket.socket] | None = None,
        visitors: tuple[socket.socket, socket.socket] | None = None,
    ) -> None:
        """`changed` is told of each change of state. `doors`: as `Inherited.doors`. `visitors`: as `visitors_pair`."""
        self.spec = spec
        self.index = index
        self.state = "stopped"
        self.pid: int | None = None
        self.restarts = 0
        #: "code 3" or "SIGKILL", of the last life; None before the first death.
        self.last_exit: str | None = None
        self.gone = asyncio.Event()
        self.gone.set()
        #: What holds it and what is missing, in its own words: `InForce.held`, `InForce.missing`.
        self._told: object = None
        self._channels = channels
        self._doors = doors or {}
        self._policy = policy
        self._changed = changed
        self._history = RestartHistory(policy)
        self._visitors = visitors
        self._stand_in: StandIn | None = None
        self._listener: socket.socket | None = None
        self._open_listener()
        self._stopping = False
        #: Told to end so that a fresh process takes its place: no death to count, and no back-off.
        self.recycling = False
        self._process: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self._ready = -1
        self._heard = msgpack.Unpacker()
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def name(self) -> str:
        return process_name(self.spec.kind, self.spec.group, self.index)

    def status(self) -> dict[str, object]:
        return {
            "kind": self.spec.kind,
            "index": self.index,
            "group": self.spec.group,
            "name": self.name,
            "pid": self.pid,
            "state": self.state,
            "restarts": self.restarts,
            "last_exit": self.last_exit,
            "told": self._told,
        }

    def start(self) -> None:
        self._timer = None
        if self._stopping:
            return
        self._since = self._loop.time()
        try:
            self._spawn()
        except OSError as error:
            # No memory, no descriptor, the port taken while it was closed: tried again as after a death.
            self._died(f"not started: {error}")
            return
        self._become("crash-loop" if self.state == "crash-loop" else "starting")
        self._timer = self._loop.call_later(self._policy.reset_after_s, self._lived_well)

    def stop(self, number: signal.Signals) -> None:
        """Send a signal, and start no more. A process in back-off is gone at once."""
        self._stopping = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._close_listener()
        if self._process is not None:
            # Not yet waited for, so the number is still this process's.
            self._process.send_signal(number)
        elif self.state != "stopped":
            self._become("stopped")

    def recycle(self, number: signal.Signals) -> None:
        """Send a signal, and start a fresh process when this one has ended, however it ends."""
        if self._process is not None and not self._stopping:
            self.recycling = True
            self._process.send_signal(number)

    # -- inside ------------------------------------------------------------------------------------

    def _spawn(self) -> None:
        self._open_listener()
        config_read, config_write = os.pipe()
        ready_read, ready_write = os.pipe()
        try:
            listeners = [] if self._listener is None else [self._listener.fileno()]
            channels = {name: end.fileno() for name, end in self._channels.items()}
            doors = {name: end.fileno() for name, end in self._doors.items()}
            visitors = -1 if self._visitors is None else self._visitors[1].fileno()
            data = pack(
                kind=self.spec.kind,
                index=self.index,
                config=self.spec.config,
                listeners=listeners,
                channels=channels,
                ready=ready_write,
                group=self.spec.group,
                doors=doors,
                visitors=visitors,
            )
            os.write(config_write, data)
            process = subprocess.Popen(
                list(self.spec.argv),
                stdin=subprocess.DEVNULL,
                pass_fds=[
                    config_read,
                    ready_write,
                    *listeners,
                    *channels.values(),
                    *doors.values(),
                    *([visitors] if visitors >= 0 else []),
                ],
                env={**os.environ, PIPE_VARIABLE: str(config_read)},
                # Out of the terminal's process group: ^C is for the supervisor, who tells the others.
                start_new_session=True,
            )
            try:
                self._pidfd = os.pidfd_open(process.pid)
            except OSError:
                process.kill()
                process.wait()
                raise
        except BaseException:
            os.close(ready_read)
            raise
        finally:
            os.close(config_read)
            os.close(config_write)
            os.close(ready_write)
        self._process = process
        self.pid = process.pid
        self.gone.clear()
        self._ready = ready_read
        self._heard = msgpack.Unpacker()
        self._loop.add_reader(self._ready, self._hear)
        self._loop.add_reader(self._pidfd, self._ended)

    def _hear(self) -> None:
        said = os.read(self._ready, 4096)
        if not said:
            self._close_ready()
            return
        self._heard.feed(said)
        for word, value in self._heard:
            if word == READY:
                self._told = value
                if self._stand_in is not None:
                    self._stand_in.end()
                if self.state == "starting":
                    self._become("running")
            elif word == LEAVING and self._stand_in is not None:
                self._stand_in.begin()

    def _ended(self) -> None:
        process = self._process
        if process is None:
            return
        code = process.wait()
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._close_ready()
        self._process = None
        self._died(f"code {code}" if code >= 0 else signal.Signals(-code).name)

    def _died(self, how: str) -> None:
        now = self._loop.time()
        self.last_exit = how
        self.pid = None
        self._told = None
        self.gone.set()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._stopping:
            self._become("stopped")
            return
        if self.recycling:
            self.recycling = False
            if self._stand_in is not None:
                self._stand_in.begin()
            self.start()
            return
        restart = self._history.died(now, now - self._since)
        self.restarts += 1
        if restart.delay_s > _SHORT_S:
            # For a while: the kernel gives others its part, or refuses. Else it is kept.
            if self._stand_in is not None:
                self._stand_in.empty()
            self._close_listener()
        elif self._stand_in is not None:
            self._stand_in.begin()
        self._become("crash-loop" if restart.crash_loop else "back-off")
        self._timer = self._loop.call_later(restart.delay_s, self.start)

    def _lived_well(self) -> None:
        self._timer = None
        if self.state == "crash-loop":
            self._become("running")

    def _become(self, state: str) -> None:
        self.state = state
        self._changed(self)

    def _open_listener(self) -> None:
        if self._listener is None and self.spec.port is not None:
            self._listener = self.spec.port.open()
            if self._visitors is not None:
                self._stand_in = StandIn(self._listener, self._visitors[0])

    def _close_listener(self) -> None:
        if self._stand_in is not None:
            self._stand_in.end()
            self._stand_in = None
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _close_ready(self) -> None:
        if self._ready >= 0:
            self._loop.remove_reader(self._ready)
            os.close(self._ready)
            self._ready = -1
        self._heard = msgpack.Unpacker()
