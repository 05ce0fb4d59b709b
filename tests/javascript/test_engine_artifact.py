"""The built engine: a worker of the module ABI, and what the repository says it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from javascript.engine.artifact import EngineNotBuilt, load_engine
from javascript.engine.build import EXPORTS, RECORD, difference_to_record, is_current, this_platform
from runtime.artifact import read_artifact

WASI_THAT_IT_NEEDS = {"clock_time_get", "random_get"}
#: libc's own, of which none is called.
WASI_OF_LIBC = {
    "fd_write",
    "fd_seek",
    "fd_close",
    "fd_fdstat_get",
    "proc_exit",
    "environ_get",
    "environ_sizes_get",
}


def wasm() -> bytes:
    try:
        return load_engine().wasm
    except EngineNotBuilt as error:
        pytest.skip(str(error))


def test_the_engine_is_a_module_of_the_abi_like_any_other() -> None:
    artifact = read_artifact(wasm())
    assert artifact.handlers == {"fetch", "queue", "scheduled"}
    assert set(artifact.exports) == set(EXPORTS)
    assert not artifact.has_start
    imports = {entry.name for entry in artifact.imports}
    assert {"call", "take", "log"} | WASI_THAT_IT_NEEDS <= imports
    assert imports <= {"call", "take", "log"} | WASI_THAT_IT_NEEDS | WASI_OF_LIBC


def test_the_engine_is_the_one_that_the_repository_says() -> None:
    engine = wasm()
    if not RECORD.read_text().strip().endswith(this_platform()):
        pytest.skip(f"recorded on another platform than {this_platform()}")
    assert is_current(), "the sources are newer than the engine: `python -m javascript.engine`"
    assert difference_to_record(engine) is None


def test_where_there_is_no_engine_the_error_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(EngineNotBuilt, match="make setup"):
        load_engine(tmp_path / "engine.wasm")
