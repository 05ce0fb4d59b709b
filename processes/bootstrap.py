"""How a child learns who it is: one MessagePack map through a pipe that it inherits.

Configuration holds secrets, so it stands neither in the arguments nor in the environment, which others
can read; only the pipe's number does.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgpack

from processes.channel import Channel
from processes.confinement import InForce, die_with_parent, no_core_dumps, no_new_privileges
from processes.doors import Door
from processes.visitors import Visitors

PIPE_VARIABLE: Final = "TENANTRY_BOOTSTRAP_FD"
#: What a process tells its supervisor, each with a value.
READY: Final = "ready"
LEAVING: Final = "leaving"
#: The pipe is written before anyone reads it, so it must fit into the kernel's buffer.
MAX_CONFIG_BYTES: Final = 60 * 1024


@dataclass(frozen=True, slots=True)
class Inherited:
    """What a child process was given.

    `listeners`: bound; whoever serves listens, as `loop.create_server(sock=…)` does (after a quick restart
    they listen already, and hold the connections that came meanwhile). Control and workers at the door each
    have one. `visitors`: of a worker at the door, connections that are passed on to whoever takes them.
    `channels`: not started. Of a worker: "control". Of control: "supervisor", and the name of each worker.
    """

    kind: str
    index: int
    config: Mapping[str, Any]
    listeners: tuple[socket.socket, ...]
    visitors: Visitors | None
    channels: Mapping[str, Channel]
    #: Near ends by the name of the process behind them, in a process at the door; in one of an isolation group
    #: its own far end, as `""`.
    doors: Mapping[str, Door]
    #: The isolation group; "" in control and at the door.
    group: str
    _ready_fd: int

    @property
    def name(self) -> str:
        """Such as `worker-0`, or `free-0` in a group."""
        return process_name(self.kind, self.group, self.index)

    def ready(self, in_force: InForce | None = None) -> None:
        """Tell the supervisor that this process serves, and what holds it. Once."""
        told = ((), ()) if in_force is None else (in_force.held, in_force.missing)
        os.write(self._ready_fd, msgpack.packb((READY, told)))

    def leaving(self) -> None:
        """Tell it that this process accepts no more: others are to have the listener's connections. Once."""
        os.write(self._ready_fd, msgpack.packb((LEAVING, None)))


def process_name(kind: str, group: str, index: int) -> str:
    return f"{group or kind}-{index}"


def pack(
    *,
    kind: str,
    index: int,
    config: Mapping[str, object],
    listeners: list[int],
    channels: Mapping[str, int],
    ready: int,
    group: str = "",
    doors: Mapping[str, int] | None = None,
    visitors: int = -1,
) -> bytes:
    """What goes into the pipe. Raises ValueError when it doesn't fit."""
    data: bytes = msgpack.packb(
        {
            "kind": kind,
            "index": index,
            "parent": os.getpid(),
            "config": dict(config),
            "listeners": listeners,
            "visitors": visitors,
            "channels": dict(channels),
            "ready": ready,
            "group": group,
            "doors": dict(doors or {}),
        }
    )
    if len(data) > MAX_CONFIG_BYTES:
        raise ValueError(f"the configuration of {kind} is {len(data)} bytes; {MAX_CONFIG_BYTES} fit")
    return data


def bootstrap() -> Inherited:
    """Read the pipe, once, first thing in a child's main. Ends the process if the supervisor has died.

    From here on it dies with its supervisor, dumps no core, gains no privileges, and leaves SIGINT (a
    terminal's ^C) to the supervisor, who sends SIGTERM. None of what was inherited is passed on to
    children. Raises RuntimeError when nobody prepared a pipe.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    number = os.environ.pop(PIPE_VARIABLE, "")
    if not number.isdecimal():
        raise RuntimeError("this is started by `tenantry serve`, not by hand")
    with os.fdopen(int(number), "rb") as pipe:
        given = msgpack.unpackb(pipe.read())
    die_with_parent(given["parent"])
    no_core_dumps()
    no_new_privileges()
    for descriptor in [
        *given["listeners"],
        *given["channels"].values(),
        *given["doors"].values(),
        given["ready"],
        *([given["visitors"]] if given["visitors"] >= 0 else []),
    ]:
        os.set_inheritable(descriptor, False)
    return Inherited(
        kind=given["kind"],
        index=given["index"],
        config=given["config"],
        listeners=tuple(socket.socket(fileno=fd) for fd in given["listeners"]),
        visitors=Visitors(socket.socket(fileno=given["visitors"])) if given["visitors"] >= 0 else None,
        channels={name: Channel(socket.socket(fileno=fd)) for name, fd in given["channels"].items()},
        doors={name: Door(socket.socket(fileno=fd)) for name, fd in given["doors"].items()},
        group=given["group"],
        _ready_fd=given["ready"],
    )
