"""`tenantry deploy` of projects with packages of npm, as `tenantry init` begins them and as the samples have them:
after `npm install` nothing else is needed.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.acceptance.platform import SAMPLES, Platform
from tests.wrangler.npm_projects import NpmTools, npm_tools

#: `tenantry deploy` makes it, and the one that the others use is made by wrangler.
NAMESPACE = "own"


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> NpmTools:
    made = npm_tools()
    monkeypatch.setenv("PATH", made.environment(tmp_path)["PATH"])
    return made


def deploy(host: Platform, folder: Path, name: str, *arguments: str) -> str:
    where = ("--name", name, "--namespace", NAMESPACE, "--hostname", f"{name}.localhost")
    return host.run("deploy", str(folder), *where, *arguments)


def test_a_project_that_init_made_with_hono_is_deployed(
    host: Platform, tools: NpmTools, tmp_path: Path
) -> None:
    folder = tmp_path / "first"
    host.run("init", str(folder), "--template", "hono")
    wanted = json.loads((folder / "package.json").read_text())
    for name in ("hono", "esbuild"):
        asked_for = {**wanted["dependencies"], **wanted["devDependencies"]}[name]
        installed = json.loads((tools.packages / name / "package.json").read_text())["version"]
        # `^4.13.0` takes 4.13.19, and `^0.28.0` takes 0.28.2.
        assert asked_for[1:].split(".")[:2] == installed.split(".")[:2]
    tools.install(folder)
    deploy(host, folder, "first", "--var", "GREETING=hey")
    assert json.loads(host.request("first.localhost", "/json").body) == {"method": "GET", "greeting": "hey"}
    assert host.request("first.localhost", "/a/b").body == "hello from first: /a/b\n"


def test_the_hono_sample_keeps_notes(host: Platform, tools: NpmTools, tmp_path: Path) -> None:
    folder = tmp_path / "hono_notes"
    shutil.copytree(SAMPLES / "hono_notes", folder, ignore=shutil.ignore_patterns("node_modules"))
    tools.install(folder)
    deploy(host, folder, "notes", "--kv", "NOTES=notes-of-hono", "--d1", "DB=notes-of-hono")
    name = "notes.localhost"
    assert host.request(name, "/notes/a", method="PUT", body="ä note".encode()).status == 201
    assert host.request(name, "/notes/b", method="PUT", body=os.urandom(32_769).hex().encode()).status == 413
    assert host.request(name, "/notes/a").body == "ä note"
    assert json.loads(host.request(name, "/notes").body) == [{"name": "a", "bytes": 7}]
    assert host.request(name, "/notes/a", method="DELETE").body == "forgotten\n"
    answer = host.request(name, "/notes/a")
    assert (answer.status, answer.body) == (404, "There is no such note.\n")
    assert json.loads(host.request(name, "/notes").body) == []
