"""What was acknowledged is there after a power loss: on a disk that has only what was synced, and the names of which
the folder was synced; and on one that has any part of the rest as well.

A child process writes to everything at once and records what reaches its disk (tests.support.power_loss). Its power is
cut at random points of that record. The harness has to see a loss, or its silence would mean nothing: each sync that
the product rests on is left out once, and something must be missing then.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from storage.failures import StorageError
from storage.keys import RootKey
from storage.token_store import TokenStore
from tests.support.ledger import Ledger
from tests.support.power_loss import Disk, Event, Said, read_log
from tests.support.survey import damaged, survey

ROOT: Final = Path(__file__).parents[2]
#: How often the power is cut, in half of the cases with a part of what was not synced.
CUTS: Final = int(os.environ.get("POWER_CUTS", "60"))
ROUNDS: Final = 60


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where that is possible: it is the record that forgets, and the disk's own syncs only take time."""
    memory = Path("/dev/shm")
    made = Path(
        tempfile.mkdtemp(prefix="power-loss-", dir=memory if os.access(memory, os.W_OK) else tmp_path)
    )
    yield made
    shutil.rmtree(made)


def recorded(
    folder: Path, log: Path, seed: int, broken: str = "nothing", rounds: int = ROUNDS
) -> list[Event]:
    """What reached the disk of a child that wrote to everything."""
    arguments = [str(folder / "child"), str(log), str(seed), str(rounds), broken]
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.power_loss_child", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return read_log(log)


def hear(ledger: Ledger, event: Event) -> None:
    match event:
        case Said(("tries", items)):
            for name, state in items:
                ledger.tries(name, state)
        case Said(("acknowledge", names)):
            for name in names:
                ledger.acknowledge(name)


def acknowledges(event: Event, prefixes: tuple[str, ...]) -> bool:
    match event:
        case Said(("acknowledge", names)):
            return any(name.startswith(prefixes) for name in names)
    return False


def cuts(events: Sequence[Event], points: Sequence[int]) -> Iterator[tuple[int, Disk, Ledger]]:
    """The disk and what was acknowledged, just after each of these events."""
    disk, ledger, wanted = Disk(), Ledger(), set(points)
    for number, event in enumerate(events):
        disk.apply(event)
        hear(ledger, event)
        if number in wanted:
            yield number, disk, ledger


def judge(data: Path, ledger: Ledger) -> list[str]:
    """What is wrong with the folder that a power loss left."""
    if damage := damaged(data):
        return damage
    try:
        found = survey(data)
        if ledger.acknowledged("root key") is not None:
            found["root key"] = RootKey.load(data / "root-key").key_id
        if ledger.acknowledged("admin token") is not None:
            tokens = TokenStore.open(data / "tokens.db")
            token = (data / "admin-token").read_text().strip()
            found["admin token"] = token if tokens.verify(token) else "not valid"
            tokens.close()
    except (StorageError, OSError) as error:
        return [f"it can't be opened: {error!r}"]
    # Restore points get their numbers on the way: one that was being made is nobody's surprise.
    known = set(ledger.names("point:"))
    return ledger.wrong({k: state for k, state in found.items() if not k.startswith("point:") or k in known})


def after_a_cut(folder: Path, disk: Disk, ledger: Ledger, some: random.Random | None) -> list[str]:
    data = folder / "survived"
    disk.write_to(data, some)
    try:
        return judge(data, ledger)
    finally:
        shutil.rmtree(data)


def test_everything_acknowledged_survives_a_power_loss_at_any_point(folder: Path, tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    events = recorded(folder, tmp_path / "log", seed)
    chance = random.Random(seed)
    points = sorted(chance.sample(range(len(events)), CUTS))
    would_be_lost = acknowledged = 0
    for number, disk, ledger in cuts(events, points):
        some = chance if chance.random() < 0.5 else None
        wrong = after_a_cut(folder, disk, ledger, some)
        assert not wrong, (
            f"seed {seed}, cut after event {number}, {'with' if some else 'without'} parts",
            wrong,
        )
        would_be_lost = max(would_be_lost, disk.pending_bytes())
        acknowledged = ledger.acknowledgements
    # It was a test: much was acknowledged, and there was something to lose.
    assert acknowledged > 300
    assert would_be_lost > 10_000


@pytest.mark.parametrize(
    ("broken", "loses"),
    [
        ("synchronous=OFF", ("kv:", "queue:", "script:", "it can't be opened")),
        ("synchronous=NORMAL", ("kv:", "queue:", "script:")),
        ("synchronous=OFF in d1", ("row:", "d1:")),
        ("no sync of objects", ("script:",)),
        ("no sync of objects' folders", ("script:",)),
        ("no sync of d1's folder", ("point:",)),  # SQLite itself syncs it for databases
    ],
)
def test_a_sync_that_is_left_out_is_seen_as_a_loss(
    broken: str, loses: Sequence[str], folder: Path, tmp_path: Path
) -> None:
    events = recorded(folder, tmp_path / "log", 1, broken, rounds=16)
    points = [number for number, event in enumerate(events) if acknowledges(event, tuple(loses))]
    points = points[:: max(1, len(points) // 8)]  # no more than it takes
    lost = [w for _, disk, ledger in cuts(events, points) for w in after_a_cut(folder, disk, ledger, None)]
    assert any(problem.startswith(tuple(loses)) for problem in lost), lost[:5]
