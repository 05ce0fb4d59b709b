"""The host that each test of this folder gets for itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.control.support import Host


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    built = Host(tmp_path)
    yield built
    await built.close()
