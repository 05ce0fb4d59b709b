from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from runtime.capi.guest import live_guests
from tests.support.guests import Guests


@pytest.fixture
async def guests() -> AsyncIterator[Guests]:
    """A runtime of the test's own; whatever it ran, no store may be left."""
    made = Guests()
    yield made
    made.close()
    assert live_guests() == 0
