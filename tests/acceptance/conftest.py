from __future__ import annotations

from collections.abc import Iterator

import pytest

from demo.upstream import start_api, start_dns
from tests.acceptance.platform import Platform


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """One host for all tests that don't stop or break it; each uses names of its own."""
    made = Platform(tmp_path_factory.mktemp("platform"), start_dns(), start_api())
    try:
        made.start()
        yield made
    finally:
        code = made.stop()
    assert code == 0


@pytest.fixture
def own_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A host of the test's own, to be killed, stopped, and started again."""
    made = Platform(tmp_path_factory.mktemp("own"), start_dns(), start_api())
    try:
        made.start()
        yield made
    finally:
        made.stop()
