"""`kill -9` at random points of mixed work, of any process and of all: what was acknowledged is there afterwards, and
the files are whole.

CRASH_ROUNDS says how often (10 unless it is set). A round writes keys, messages, rows, versions and routes at once,
through workers and through the API, kills, waits for the host, and looks.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from cli.confining import D1
from demo.host import free_port
from demo.upstream import start_api, start_dns
from storage.changes import ChangeSequence
from storage.control_store import ControlStore
from storage.database import Database
from storage.kv_store import kv_migrations
from storage.object_store import FolderObjectStore
from storage.queue_store import queue_migrations
from tests.acceptance.platform import Platform, wait_until
from tests.support.crash_load import CrashLoad
from tests.support.ledger import State
from tests.support.survey import damaged, entries, keys, messages, routes, scripts

ROUNDS: Final = int(os.environ.get("CRASH_ROUNDS", "10"))
#: Who is killed, in an order that changes.
VICTIMS: Final = ("a worker", "all workers", "control", "the supervisor", "every process")
_KILL_WITHIN_S: Final = 0.6


class SqliteEngine:
    """All state in the data folder's own files."""

    name = "sqlite"
    settings: tuple[str, ...] = ()

    def damaged(self, platform: Platform) -> list[str]:
        return damaged(platform.data)

    def found(self, platform: Platform, load: CrashLoad) -> dict[str, State]:
        """What the load has written, read beside the running host."""
        data = platform.data
        sequence = ChangeSequence(data / "changes.seq")
        control = ControlStore.open(data / "control.db", sequence, read_only=True)
        kv = Database.open(data / "kv.db", kv_migrations(), read_only=True)
        queues = Database.open(data / "queues.db", queue_migrations(), read_only=True)
        try:
            # A message that is being settled is in one of the two in any case: it is kept as seen first.
            found: dict[str, State] = {f"queue:{body}": "there" for body, _ in messages(queues)}
            for namespace, key, state in keys(kv):
                delivered = namespace == load.names["seen"]
                found[f"queue:{state}" if delivered else f"kv:{key}"] = "there" if delivered else state
            for name, version in scripts(control, FolderObjectStore(data / "objects")):
                if name.startswith("crash-"):
                    found[f"script:{name}"] = version
            for pattern, name in routes(control):
                if name.startswith("crash-"):
                    found[f"route:{pattern}"] = name
        finally:
            for closing in (control, kv, queues):
                closing.close()
            sequence.close()
        for entry in entries(data / D1 / f"{load.names['guests']}.sqlite"):
            found[f"entry:{entry}"] = "there"
        return found


ENGINES: Final = (SqliteEngine(),)


@pytest.fixture(params=ENGINES, ids=lambda engine: engine.name)
def engine(request: pytest.FixtureRequest) -> SqliteEngine:
    found: SqliteEngine = request.param
    return found


@pytest.fixture
def crashing(tmp_path_factory: pytest.TempPathFactory, engine: SqliteEngine) -> Iterator[Platform]:
    """A host on ports that no other one asks for while it is down."""
    made = Platform(tmp_path_factory.mktemp("crashing"), start_dns(), start_api())
    made.http_port, made.control_port = free_port(0), free_port(0)
    made.url = f"http://127.0.0.1:{made.control_port}"
    try:
        made.start(*engine.settings)
        yield made
    finally:
        made.stop()


def kill(platform: Platform, whom: str, chance: random.Random) -> None:
    supervisor = platform.supervisor_pid
    children = descendants(supervisor)
    match whom:
        case "a worker":
            victims = [chance.choice(platform.workers())]
        case "all workers":
            victims = platform.workers()
        case "control":
            victims = platform.controls()
        case "the supervisor":
            victims = [supervisor]
        case _:
            victims = [supervisor, *children]
            for pid in victims:  # so that none lives to see another's end
                send(pid, signal.SIGSTOP)
    for pid in victims:
        send(pid, signal.SIGKILL)
    if supervisor in victims:
        assert platform._process is not None
        platform._process.wait(30)
        wait_until(lambda: not any(is_alive(pid) for pid in children))


def send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # a compile child that has ended


def descendants(pid: int) -> list[int]:
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found += [int(child), *descendants(int(child))]
    return found


def is_alive(pid: int) -> bool:
    """A zombie is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def is_whole(platform: Platform) -> bool:
    """Every process runs, and answers."""
    try:
        if platform.metrics().get('tenantry_processes{kind="worker"}') != platform.process_count:
            return False
        return platform.request("localhost", "/readyz").status == 200
    except OSError:
        return False


@pytest.mark.timeout(120 + 20 * ROUNDS)
def test_everything_acknowledged_survives_kill_9_of_any_process(
    engine: SqliteEngine, crashing: Platform
) -> None:
    platform = crashing
    load = CrashLoad(platform)
    load.prepare()
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    victims: list[str] = []
    while len(victims) < ROUNDS:
        victims += chance.sample(VICTIMS, len(VICTIMS))
    for number, whom in enumerate(victims[:ROUNDS]):

        def killed(whom: str = whom) -> None:
            time.sleep(chance.uniform(0.05, _KILL_WITHIN_S))  # the random point
            kill(platform, whom, chance)

        load.write_until(killed)
        if whom in ("the supervisor", "every process"):
            platform.start(*engine.settings)
        else:
            wait_until(lambda: is_whole(platform), 60)
        wrong = engine.damaged(platform) or load.ledger.wrong(engine.found(platform, load))
        assert not wrong, (f"seed {seed}, round {number}, {whom} killed", wrong)
    assert load.ledger.acknowledgements > 20 * ROUNDS, "too little was written for this to say much"
    assert load.unanswered >= ROUNDS // 2, "nothing was in the middle of anything"
    # And it serves what it has.
    for pattern in load.ledger.names("route:"):
        if load.ledger.acknowledged(pattern) is not None:
            assert platform.request(pattern.removeprefix("route:")).status == 200
    for item in load.ledger.names("kv:"):
        state = load.ledger.acknowledged(item)
        if state is not None and not load.ledger.is_in_doubt(item):
            note = platform.request("notes.localhost", f"/{item.removeprefix('kv:')}")
            assert (note.status, note.body.partition(":")[0]) == (200, state)
