"""The table of who may import whom covers every package, and the contracts that hold it see them all."""

from __future__ import annotations

import configparser
import subprocess
import sys
from pathlib import Path

from bindings.operations import REFERENCE
from runtime import fiber, instance_pool
from runtime.capi import engine_store, linker
from tests.docs.pages import ROOT, code, read, table

PAGE = read("architecture.md")
PACKAGES = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {
    "tests",
    "demo",
    "sample_workers",
    "benchmarks",
}


def contracts() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / ".importlinter")
    return parser


def test_each_package_has_a_row() -> None:
    rows = table(PAGE, "## Packages, and who may import whom")
    assert {code(row[0]) for row in rows} == PACKAGES


def test_the_contracts_are_about_every_package() -> None:
    parser = contracts()
    assert set(parser["importlinter"]["root_packages"].split()) == PACKAGES
    layers = parser["importlinter:contract:layers"]["layers"].replace("|", " ")
    assert set(layers.split()) == PACKAGES
    for name in ("ctypes", "wasmtime", "apsw", "network"):
        assert set(parser[f"importlinter:contract:{name}"]["source_modules"].split()) == PACKAGES


def test_a_contract_without_its_exception_is_broken(tmp_path: Path) -> None:
    """A contract that can't fail holds nothing: with nobody allowed to import apsw, who does is found."""
    exception = "    storage.database -> apsw\n"
    text = (ROOT / ".importlinter").read_text()
    assert exception in text
    broken = tmp_path / "contracts.ini"
    broken.write_text(text.replace(exception, ""))
    program = (
        "import sys; from importlinter import cli; sys.exit(cli.lint_imports(sys.argv[1], no_cache=True))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(broken)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "storage.database -> apsw" in done.stdout
    assert "1 broken" in done.stdout


def test_figures_of_the_runtime_are_those_of_the_code() -> None:
    text = PAGE.replace("\n", " ")
    assert f"the {engine_store.MAX_WASM_STACK >> 10} KiB that wasm may use" in text
    assert f"and {engine_store.HOST_STACK / (1 << 20):g} MiB for the host" in text
    assert f"slices of {fiber.POOL_SLICE_TICKS * engine_store.EngineSettings().tick_s * 1000:g} ms" in text
    assert f"more than {linker.SYNC_CALLS_IN_POOL} of them in a slice" in text
    assert (
        f"At most {instance_pool.MAX_MODULES:,} modules and {instance_pool.MAX_IMAGE_BYTES >> 30} GiB" in text
    )


def test_every_operation_is_in_the_reference_page() -> None:
    page = read("bindings.md")
    assert [notes.name for notes in REFERENCE if f"\n### {notes.name}\n" not in page] == []
