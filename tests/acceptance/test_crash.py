"""`kill -9` at random points of mixed work, of any process and of all: what was acknowledged is there afterwards, and
the files are whole. With PostgreSQL, of its processes as well.

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

from demo.upstream import start_api, start_dns
from tests.acceptance.platform import Platform, wait_until
from tests.support.crash_engines import (
    CrashEngine,
    PostgresEngine,
    SqliteEngine,
    descendants,
    is_alive,
    send_signal,
)
from tests.support.crash_load import CrashLoad

ROUNDS: Final = int(os.environ.get("CRASH_ROUNDS", "10"))
_KILL_WITHIN_S: Final = 0.4
#: As many writes as there are lanes.
_ANSWERS: Final = 10
#: A worker process that is killed again and again waits up to 10 s for its next start.
_WHOLE_S: Final = 60.0


@pytest.fixture(params=["sqlite", "postgres"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> CrashEngine:
    if request.param == "sqlite":
        return SqliteEngine()
    return PostgresEngine(request.getfixturevalue("own_postgres"), tmp_path)


@pytest.fixture
def platform(engine: CrashEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A host of the test's own."""
    made = Platform(tmp_path_factory.mktemp("crashing"), start_dns(), start_api())
    try:
        made.start(*engine.settings)
        yield made
    finally:
        made.stop()


def kill(platform: Platform, engine: CrashEngine, whom: str, chance: random.Random) -> None:
    """Returns when it is dead; of the database, when it is back."""
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
        case "every process":
            victims = [supervisor, *children]
            for pid in victims:  # so that none lives to see another's end
                send_signal(pid, signal.SIGSTOP)
        case _:
            engine.kill(whom)
            return
    for pid in victims:
        send_signal(pid, signal.SIGKILL)
    if supervisor in victims:
        assert platform._process is not None
        platform._process.wait(30)
        wait_until(lambda: not any(is_alive(pid) for pid in children))


def is_whole(platform: Platform) -> bool:
    """Every process runs, and answers."""
    try:
        if platform.metrics().get('tenantry_processes{kind="worker"}') != platform.process_count:
            return False
        return platform.request("localhost", "/readyz").status == 200
    except OSError:
        return False


def answered(platform: Platform, path: str) -> str:
    """What is read there, once the process that is asked has found the database again, as each does by itself."""
    found: list[str] = []

    def reads() -> bool:
        note = platform.request("notes.localhost", path)
        found.append(note.body)
        return note.status == 200

    wait_until(reads)
    return found[-1]


@pytest.mark.timeout(300 + 60 * ROUNDS)
def test_everything_acknowledged_survives_kill_9_of_any_process(
    engine: CrashEngine, platform: Platform
) -> None:
    load = CrashLoad(platform)
    load.prepare()
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    victims: list[str] = []
    while len(victims) < ROUNDS:
        victims += chance.sample(engine.victims, len(engine.victims))
    for number, whom in enumerate(victims[:ROUNDS]):
        enough = load.ledger.acknowledgements + 2 * _ANSWERS

        def killed(whom: str = whom, enough: int = enough) -> None:
            # Nothing is in the middle of what has not begun, and a busy machine begins late.
            wait_until(lambda: load.ledger.acknowledgements > enough, pause_s=0.005)
            time.sleep(chance.uniform(0, _KILL_WITHIN_S))  # the random point
            kill(platform, engine, whom, chance)

        load.write_until(killed)
        if whom in ("the supervisor", "every process"):
            platform.start(*engine.settings)
        else:
            wait_until(lambda: is_whole(platform), _WHOLE_S)
        wrong = engine.problems(platform.data) or load.ledger.wrong(engine.found(platform.data, load.names))
        assert not wrong, (f"seed {seed}, round {number}, {whom} killed", wrong)
    assert load.unanswered >= ROUNDS // 2, "nothing was in the middle of anything"
    # And it serves what it has, as soon as each of its processes has found the database again.
    for pattern in load.ledger.names("route:"):
        if load.ledger.acknowledged(pattern) is not None:
            assert platform.request(pattern.removeprefix("route:")).status == 200
    for item in load.ledger.names("kv:"):
        state = load.ledger.acknowledged(item)
        if state is not None and not load.ledger.is_in_doubt(item):
            path = f"/{item.removeprefix('kv:')}"
            note = answered(platform, path)
            assert note.partition(":")[0] == state
