"""`tenantry init` writes a worker that can be deployed as it is, and never over a file that is there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.javascript_sources import read_sources
from tests.cli.conftest import Run


def test_javascript_is_ready_to_be_deployed(run: Run, tmp_path: Path) -> None:
    ended = run("init", str(tmp_path / "shop"))
    assert ended.code == 0, ended.err
    assert f"tenantry dev {tmp_path / 'shop'}\n" in ended.out
    assert f"tenantry deploy {tmp_path / 'shop'} --name shop" in ended.out
    sources = read_sources(tmp_path / "shop")
    assert sources.main == "index.js"
    assert b"hello from shop" in sources.files[0].data


@pytest.mark.parametrize("template", ["ts", "hono"])
def test_typescript_brings_what_bundles_and_checks_it(run: Run, tmp_path: Path, template: str) -> None:
    ended = run("init", str(tmp_path / "shop"), "--template", template, "--name", "front")
    assert "npm install" in ended.out
    folder = tmp_path / "shop"
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {
        "src/index.ts",
        "package.json",
        "tsconfig.json",
        "README.md",
        ".gitignore",
    }
    package = json.loads((folder / "package.json").read_text())
    assert package["name"] == "front"
    assert {"esbuild", "typescript"} <= package["devDependencies"].keys()
    assert ("hono" in package.get("dependencies", {})) == (template == "hono")
    assert package["scripts"]["dev"] == "tenantry dev"
    assert "tenantry dev " in (folder / "README.md").read_text()
    assert "--name front " in (folder / "README.md").read_text()
    assert json.loads((folder / "tsconfig.json").read_text())["compilerOptions"]["strict"] is True


def test_what_is_there_is_not_touched(run: Run, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "index.js").write_text("mine")
    ended = run("init", str(tmp_path), "--name", "shop")
    assert ended.code == 1
    assert "is there already" in ended.err
    assert (tmp_path / "src" / "index.js").read_text() == "mine"
    assert run("init", str(tmp_path), "--name", "shop", "--template", "ts").code == 0


@pytest.mark.parametrize("template", ["js", "ts"])
def test_what_is_no_source_is_kept_out_of_the_repository(run: Run, tmp_path: Path, template: str) -> None:
    run("init", str(tmp_path / "shop"), "--template", template)
    assert (tmp_path / "shop" / ".gitignore").read_text().split() == [".tenantry/", "node_modules/"]
    (tmp_path / ".gitignore").write_text("mine")
    ended = run("init", str(tmp_path), "--name", "shop", "--template", template)
    assert ended.code == 0
    assert (tmp_path / ".gitignore").read_text() == "mine"


@pytest.mark.parametrize("name", ["Shop", "a b", "-"])
def test_name_that_no_worker_can_have_is_refused(run: Run, tmp_path: Path, name: str) -> None:
    ended = run("init", str(tmp_path / "x"), "--name", name)
    assert ended.code != 0
    assert not (tmp_path / "x").exists()
