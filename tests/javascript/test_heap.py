"""The engine's heap: no block overlaps another, loses its bytes, or is given out twice."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from javascript.engine.toolchain import GLUE

NAMES = ("malloc", "calloc", "realloc", "free")


def test_blocks_of_every_size_keep_their_bytes_at_random(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    renamed = [f"-D{name}=heap_{name}" for name in NAMES] + ["-Dmalloc_usable_size=heap_usable"]
    base = [compiler, "-std=gnu11", "-O2", "-Wall", "-Werror", "-I", str(GLUE)]
    heap, program = tmp_path / "heap.o", tmp_path / "check"
    subprocess.run([*base, *renamed, "-c", str(GLUE / "heap.c"), "-o", str(heap)], check=True)
    check = Path(__file__).with_name("heap_check.c")
    subprocess.run([*base, str(check), str(heap), "-o", str(program)], check=True)
    done = subprocess.run([str(program)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
