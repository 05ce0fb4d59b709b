"""Whatever events do, and however they end, they leave nothing: memory, descriptors, maps, stores, permits, tasks.

10,000 events in a child process whose exit status is the verdict: answered, trapped, ended by every limit,
left by their visitor and cancelled while they compute (in both lanes) and while they wait, bodies streamed both
ways, workers that call workers. Over the last half RSS grows by at most 2 MiB, memory maps by 16, and all
else by nothing. `LEAK_EVENTS=200000 pytest tests/security/test_leaks.py` runs more of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Final

import pytest

from tests.support.children import ROOT

EVENTS: Final = int(os.environ.get("LEAK_EVENTS", "10000"))
_PATIENCE_S: Final = 250 + EVENTS // 40


@pytest.mark.timeout(_PATIENCE_S + 20)
def test_nothing_is_left_of_events_however_they_end() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.leak_child", str(EVENTS)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, f"it ended with {done.returncode}:\n{(done.stdout + done.stderr)[-4000:]}"
    # A coroutine that nobody ran or closed, an exception that nobody took, would be told there.
    assert done.stderr == ""
