"""A C program with a libc is a worker too: constructors run, printf logs, getenv reads variables, and the rest of
WASI says no instead of breaking it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from model.capabilities import WorkerEnv
from model.outcome import EventOutcome
from sample_workers.build import build
from tests.support.guests import Guests


@pytest.mark.toolchain
async def test_libc_finds_what_a_worker_has_and_is_refused_the_rest(guests: Guests, tmp_path: Path) -> None:
    build(Path(__file__).with_name("with_libc.c"), tmp_path / "out.wasm", libc=True)
    worker = guests.worker((tmp_path / "out.wasm").read_bytes(), env=WorkerEnv(vars={"GREETING": "Grüezi"}))
    ending, response = await guests.fetch(worker)
    assert ending.outcome is EventOutcome.OK, ending.message
    assert bytes(response.body).decode() == (
        "Grüezi constructed=1 refused=1 random=1 year>2000=1 float=2.50\n"
    )
    assert guests.observer.texts == ["a line on stdout", "a line on stderr"]
