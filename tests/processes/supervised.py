"""A small platform to be supervised, each process of it real: `python -m tests.processes.supervised JSON`.

Prints one JSON line with its ports, then one on stderr for each change of a process. Workers answer HTTP:
/pid, /slow (after half a second), /crash. Control answers /told (the last status it was sent), /asked (the
status it asks for) and /worker/N (what worker N says over the channel).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from typing import Any

import uvloop

from edge.server import DoorServer
from processes.bootstrap import Inherited, bootstrap
from processes.channel import ChannelError
from processes.child import ProcessSpec
from processes.listeners import ListenAddress, PortGroup
from processes.restarts import RestartPolicy
from processes.supervisor import Supervisor


def say(what: str) -> None:
    """In the supervisor's log, which is this process's stderr too."""
    sys.stderr.write(json.dumps({"kind": what, "pid": os.getpid(), "state": ""}) + "\n")
    sys.stderr.flush()


async def answer(send: Any, value: object) -> None:
    body = json.dumps(value).encode()
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def serve_until_sigterm(inherited: Inherited, app: Any) -> None:
    stop = asyncio.Event()
    if not inherited.config.get("deaf"):
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    else:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    server = DoorServer(app)
    await server.start(inherited.listeners, inherited.visitors)
    for channel in inherited.channels.values():
        channel.start()
    inherited.ready()
    await stop.wait()
    server.begin_drain()
    inherited.leaving()
    say("leaving")
    await server.drained(60)
    server.close()


async def worker(inherited: Inherited) -> None:
    if inherited.index in inherited.config["crashing"]:
        sys.exit(3)
    if secret := inherited.config.get("secret"):
        assert secret not in repr(sys.argv) + repr(os.environ)

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["path"] == "/crash":
            os.kill(os.getpid(), signal.SIGKILL)
        if scope["path"] == "/held":
            say("held")
            while not os.path.exists(inherited.config["gate"]):  # noqa: ASYNC110 - another process opens it
                await asyncio.sleep(0.01)
        await answer(send, os.getpid())

    async def who(payload: object) -> object:
        return [os.getpid(), payload]

    inherited.channels["control"].on_request("who", who)
    await serve_until_sigterm(inherited, app)


async def control(inherited: Inherited) -> None:
    time.sleep(inherited.config["start_s"])
    told: list[object] = [None]
    supervisor = inherited.channels["supervisor"]

    def hear(payload: object) -> None:
        told[0] = payload

    supervisor.on_notification("processes", hear)

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        path = scope["path"]
        if path == "/told":
            await answer(send, told[0])
        elif path == "/asked":
            await answer(send, await supervisor.request("processes"))
        elif path == "/crash":
            os.kill(os.getpid(), signal.SIGKILL)
        else:
            try:
                reply = await inherited.channels[f"worker-{path[-1]}"].request("who", path, timeout_s=3)
            except ChannelError as error:
                reply = str(error)
            await answer(send, reply)

    await serve_until_sigterm(inherited, app)


async def supervise(settings: dict[str, Any]) -> int:
    http, api = PortGroup(ListenAddress("127.0.0.1", 0)), PortGroup(ListenAddress("127.0.0.1", 0))
    sys.stdout.write(json.dumps({"http": http.address.port, "control": api.address.port}) + "\n")
    sys.stdout.flush()
    argv = [sys.executable, "-m", "tests.processes.supervised"]
    config = {"crashing": [], "start_s": 0, "secret": "s3cret-in-config", **settings.get("config", {})}
    supervisor = Supervisor(
        control=ProcessSpec("control", argv, {**config, "deaf": False}, api),
        worker=ProcessSpec("worker", argv, config, http),
        workers=settings["workers"],
        drain_s=settings.get("drain_s", 10),
        policy=RestartPolicy(**settings.get("policy", {})),
    )
    return await supervisor.run()


def main() -> int:
    if len(sys.argv) > 1:
        return uvloop.run(supervise(json.loads(sys.argv[1])))
    inherited = bootstrap()
    uvloop.run({"worker": worker, "control": control}[inherited.kind](inherited))
    return 0


if __name__ == "__main__":
    sys.exit(main())
