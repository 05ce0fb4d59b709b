"""Whatever events of JavaScript workers do, and however they end, they leave nothing: test_leaks' rule.

Tenants whose deltas fit into the pool by half, so that they begin cold and warm; answers, errors, unhandled
rejections, traps, recursion, memory and time that run out, visitors who leave and events that are cancelled, large
bodies both ways. `make test` has 1,000 events of 20 tenants;
`LEAK_EVENTS=100000 pytest tests/security/test_javascript_leaks.py` has 500 tenants.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Final

import pytest

from tests.support.children import ROOT
from tests.support.javascript_engine import built_engine

built_engine()

EVENTS: Final = int(os.environ.get("LEAK_EVENTS", "1000"))
TENANTS: Final = 500 if EVENTS >= 50_000 else 20
_PATIENCE_S: Final = 400 + EVENTS // 12


@pytest.mark.timeout(_PATIENCE_S + 20)
def test_nothing_is_left_of_events_of_many_tenants() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.javascript_leak_child", str(EVENTS), str(TENANTS)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, f"it ended with {done.returncode}:\n{(done.stdout + done.stderr)[-4000:]}"
    assert done.stderr == ""
