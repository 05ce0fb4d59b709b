from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from bindings.operations import OPERATIONS
from runtime.capi.guest import live_guests
from tests.support.guests import ABIS, Guests


@pytest.fixture(params=ABIS)
async def guests(request: pytest.FixtureRequest) -> AsyncIterator[Guests]:
    """A runtime with every operation there is, for each kind of worker; whatever it ran, no store may be left."""
    made = Guests(OPERATIONS, request.param)
    yield made
    made.close()
    assert live_guests() == 0
