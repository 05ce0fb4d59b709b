from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from bindings.operations import OPERATIONS
from runtime.capi.guest import live_guests
from tests.support.guests import Guests


@pytest.fixture
async def guests() -> AsyncIterator[Guests]:
    """A runtime with every operation there is; whatever it ran, no store may be left."""
    made = Guests(OPERATIONS)
    yield made
    made.close()
    assert live_guests() == 0
