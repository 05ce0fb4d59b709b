"""No module crashes the host, hangs it, or fails without a name: 10,000 mutants of real and hostile workers.

Each is read, compiled, instantiated and run with 20 ms of CPU, in child processes whose exit status is the
verdict. They are the same ones each time. `FUZZ_MODULES=1000000 pytest tests/security/test_fuzz.py` runs more
of them; `FUZZ_FIRST` begins at another number, so that a run finds others.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from tests.support.children import ROOT

MODULES: Final = int(os.environ.get("FUZZ_MODULES", "10000"))
FIRST: Final = int(os.environ.get("FUZZ_FIRST", "0"))
SHARDS: Final = 2
_PATIENCE_S: Final = 300 + MODULES // 10


@pytest.mark.timeout(_PATIENCE_S + 20)
def test_mutated_modules_end_by_name(tmp_path: Path) -> None:
    def start(shard: int) -> subprocess.Popen[str]:
        numbers = [str(FIRST + shard), str(FIRST + MODULES), str(SHARDS)]
        return subprocess.Popen(
            [sys.executable, "-m", "tests.support.fuzz_child", *numbers, str(tmp_path / str(shard))],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    children = [start(shard) for shard in range(SHARDS)]
    ended: Counter[str] = Counter()
    try:
        for shard, child in enumerate(children):
            text, _ = child.communicate(timeout=_PATIENCE_S)
            number = (tmp_path / str(shard)).read_text().strip()
            assert child.returncode == 0, f"{child.returncode} at mutant {number}:\n{text[-4000:]}"
            for line in text.splitlines():
                count, how = line.split(" ", 1)
                ended[how] += int(count)
    finally:
        for child in children:
            child.kill()
            child.wait()
    assert ended.total() == MODULES
    # Mutants that all fail alike would hold nothing.
    assert ended["ok"] > MODULES / 50, ended
    assert ended["exception"] > MODULES / 50, ended
    assert ended["invalid"] > MODULES / 50, ended
    assert len([how for how in ended if how.startswith("refused")]) >= 5, ended
