"""Every committed `.wasm` is what its source builds to, and is a worker by the host's own rules; the READMEs
name every worker.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from runtime.artifact import Artifact, read_artifact
from sample_workers.build import SAMPLES, BuildFailed, build, compile_command, main, worker_sources

SOURCES = worker_sources()
#: Repositories grow for ever; a worker that links a whole library belongs elsewhere.
MAX_COMMITTED_BYTES = 1 << 20


def committed(name: str) -> Artifact:
    return read_artifact(SOURCES[name].with_suffix(".wasm").read_bytes())


def shape(artifact: Artifact) -> tuple[object, ...]:
    """What two builds of one source agree on, whatever the compiler's version makes of the code."""
    functions = {name: export for name, export in artifact.exports.items() if export.kind == "function"}
    return set(artifact.imports), functions, artifact.handlers, artifact.uses_wasi, artifact.has_start


@pytest.mark.toolchain
@pytest.mark.parametrize("name", SOURCES)
def test_a_rebuilt_worker_is_the_committed_one(name: str, tmp_path: Path) -> None:
    build(SOURCES[name], tmp_path / "out.wasm")
    assert shape(read_artifact((tmp_path / "out.wasm").read_bytes())) == shape(committed(name))


@pytest.mark.toolchain
def test_everything_the_zig_sdk_offers_compiles(tmp_path: Path) -> None:
    build(Path(__file__).with_name("every_zig_declaration.zig"), tmp_path / "out.wasm")
    built = read_artifact((tmp_path / "out.wasm").read_bytes())
    assert built.handlers == {"fetch", "queue", "scheduled"}


@pytest.mark.toolchain
@pytest.mark.parametrize("suffix", [".c", ".zig"])
def test_a_source_that_does_not_compile_is_reported_in_the_compilers_words(
    suffix: str, tmp_path: Path
) -> None:
    source = tmp_path / f"wrong{suffix}"
    source.write_text("this is no program\n")
    with pytest.raises(BuildFailed, match="wrong") as caught:
        build(source, tmp_path / "out.wasm")
    assert "error" in str(caught.value)


def test_an_unknown_worker_is_refused_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["helo"]) == 2
    assert "hello" in capsys.readouterr().err


def test_the_committed_workers_are_small() -> None:
    assert sum(path.stat().st_size for path in SAMPLES.rglob("*.wasm")) < MAX_COMMITTED_BYTES


def test_every_worker_has_source_build_and_a_readme_that_is_listed() -> None:
    listed = (SAMPLES / "README.md").read_text()
    for name, source in SOURCES.items():
        assert source.with_suffix(".wasm").is_file(), name
        text = (source.parent / "README.md").read_text()
        assert re.search(rf"python -m sample_workers\.build {name}\s", text)
        assert f"({name}/README.md)" in listed


def test_only_the_hostile_worker_asks_for_wasi_and_it_asks_for_all_of_it() -> None:
    assert [name for name in SOURCES if committed(name).uses_wasi] == ["hostile"]
    assert len(committed("hostile").imports) == 49


@pytest.mark.parametrize(
    ("name", "handlers"),
    [
        ("hello", {"fetch"}),
        ("queue_consumer", {"fetch", "queue"}),
        ("scheduled", {"fetch", "scheduled"}),
    ],
)
def test_a_worker_exports_the_handlers_that_its_source_has(name: str, handlers: set[str]) -> None:
    assert committed(name).handlers == handlers


def test_the_recipes_of_the_sdk_readme_are_those_that_build_the_samples() -> None:
    told = (SAMPLES / "sdk" / "README.md").read_text()
    for name in ("hello", "hello_zig"):
        for flag in compile_command(SOURCES[name], Path("worker.wasm"))[2:]:
            # The samples' own warnings and paths aside, a reader gets the same flags.
            if not flag.startswith(("-Wall", "-Wextra", "-Werror", "-I", "-M", "-femit", "/", "worker")):
                assert flag in told, flag
