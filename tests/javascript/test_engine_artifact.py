"""The built engine: a worker of the module ABI, and what the repository says it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from javascript.engine import __main__ as command
from javascript.engine.artifact import EngineNotBuilt, load_engine
from javascript.engine.build import EXPORTS, RECORD, difference_to_record, is_current, this_platform
from javascript.engine.commands import ToolFailed, run
from runtime.artifact import read_artifact
from tests.support.javascript_engine import built_engine

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


def test_the_engine_is_a_module_of_the_abi_like_any_other() -> None:
    artifact = read_artifact(built_engine().wasm)
    assert artifact.handlers == {"fetch", "queue", "scheduled", "tail"}
    assert set(artifact.exports) == set(EXPORTS)
    assert not artifact.has_start
    imports = {entry.name for entry in artifact.imports}
    assert {"call", "take", "log"} | WASI_THAT_IT_NEEDS <= imports
    assert imports <= {"call", "take", "log"} | WASI_THAT_IT_NEEDS | WASI_OF_LIBC


def test_the_engine_is_the_one_that_the_repository_says() -> None:
    engine = built_engine().wasm
    if not RECORD.read_text().strip().endswith(this_platform()):
        pytest.skip(f"recorded on another platform than {this_platform()}")
    assert is_current(), "the sources are newer than the engine: `python -m javascript.engine`"
    assert difference_to_record(engine) is None


def test_where_there_is_no_engine_the_error_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(EngineNotBuilt, match="make setup"):
        load_engine(tmp_path / "engine.wasm")


def test_where_a_tool_can_t_be_had_the_set_up_goes_on_and_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def nothing() -> bytes:
        run(["/there/is/no/such/tool"], "zig and node from PyPI")
        raise AssertionError

    monkeypatch.setattr(command, "build", nothing)
    assert command.main(["--force"]) == 0
    assert command.main(["--force", "--strict"]) == 1
    said = capsys.readouterr().err
    assert "uploads of JavaScript will be refused. zig and node from PyPI: " in said


def test_a_tool_that_fails_is_told_by_its_last_words() -> None:
    with pytest.raises(ToolFailed, match="compiling failed: no such file"):
        run(["sh", "-c", "echo no such file >&2; exit 3"], "compiling")
