from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from runtime.capi.accelerator.loading import available
from runtime.capi.guest import live_guests
from tests.support.guests import Guests, engine

DRIVERS = {"accelerator": True, "ctypes": False}


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> Iterator[str]:
    """A test that uses this runs twice: once with the accelerator, once with ctypes alone, its reference."""
    accelerated = DRIVERS[request.param]
    if accelerated and (why_not := available()) is not None:
        pytest.skip(f"no accelerator: {why_not}")
    before, engine().accelerated = engine().accelerated, accelerated
    yield request.param
    engine().accelerated = before


@pytest.fixture
async def guests(driver: str) -> AsyncIterator[Guests]:
    """A runtime of the test's own; whatever it ran, no store may be left."""
    made = Guests()
    yield made
    made.close()
    assert live_guests() == 0
