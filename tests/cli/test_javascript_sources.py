"""What goes up of a worker in JavaScript: the file, what it imports from its own disk, and nothing else; what has to be
bundled first is bundled, or it is said how.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.errors import BadUsage, CliError
from cli.javascript_sources import ESM, SOURCE_MAP, imported, is_javascript, is_package, read_sources
from tests.cli.conftest import Run
from tests.cli.recording_api import RecordingApi
from tests.cli.test_deploy import SCRIPT, host, metadata_of, parts_of

__all__ = ["host"]

HELLO = "export default { fetch() { return new Response('hello'); } };\n"


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def names(path: Path) -> tuple[str, dict[str, str]]:
    sources = read_sources(path)
    return sources.main, {file.name: file.content_type for file in sources.files}


def test_one_file_is_one_module(tmp_path: Path) -> None:
    write(tmp_path, {"worker.js": HELLO, "other.js": "x"})
    assert names(tmp_path / "worker.js") == ("worker.js", {"worker.js": ESM})
    assert read_sources(tmp_path / "worker.js").size == len(HELLO)


def test_relative_imports_are_followed_and_named_from_the_common_folder(tmp_path: Path) -> None:
    files = {
        "src/index.js": """
            import { a } from "./lib/a.mjs"; import page from './page.html'
            export * from "../shared/s.js"; import settings from "./settings.json";
            const later = () => import("./later.js"); import "./d.bin"; import m from "./m.wasm";
            const old = require("./old.cjs");
        """,
        "src/lib/a.mjs": 'import "./b.js"; export const a = 1;',
        "src/lib/b.js": 'import "../index.js";',
        "src/page.html": "<p>",
        "src/settings.json": "{}",
        "src/later.js": "",
        "src/d.bin": "",
        "src/m.wasm": "",
        "src/old.cjs": "",
        "shared/s.js": "",
        "shared/unused.js": "",
    }
    write(tmp_path, files)
    main, found = names(tmp_path / "src" / "index.js")
    assert main == "src/index.js"
    assert found == {
        "src/index.js": ESM,
        "src/lib/a.mjs": ESM,
        "src/lib/b.js": ESM,
        "src/page.html": "text/plain",
        "src/settings.json": "application/json",
        "src/later.js": ESM,
        "src/d.bin": "application/octet-stream",
        "src/m.wasm": "application/wasm",
        "src/old.cjs": "application/javascript",
        "shared/s.js": ESM,
    }


def test_what_is_not_there_and_what_is_no_module_stay_behind(tmp_path: Path) -> None:
    write(
        tmp_path, {"w.js": 'import "./missing.js"; import "../key.pem"; import "./.env"; import "./folder";'}
    )
    write(tmp_path, {"../key.pem": "secret", ".env": "secret", "folder/index.js": ""})
    assert names(tmp_path / "w.js")[1] == {"w.js": ESM}


@pytest.mark.parametrize("entry", ["index.js", "src/index.js", "worker.mjs", "src/main.js"])
def test_folder_s_own_worker_is_found(tmp_path: Path, entry: str) -> None:
    write(tmp_path, {entry: HELLO, "README.md": "no"})
    assert is_javascript(tmp_path)
    main, found = names(tmp_path)
    assert (main, len(found)) == (Path(entry).name, 1)


def test_folder_without_a_worker_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadUsage, match="there is no worker in this folder"):
        read_sources(tmp_path)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import a from 'hono'", ["hono"]),
        ('import{a}from"hono";export{b}from "./b.js"', ["hono", "./b.js"]),
        ("import 'x'; import('y'); require( 'z' )", ["x", "y", "z"]),
        ("// import a from 'a'\n/* import b from 'b' */ import c from 'c'", ["c"]),
        ("const important = 'x'; const s = 'from';", []),
        ("""const f = {"/import": async () => (await import("./a.js")).a, 'from': () => 'b'}""", ["./a.js"]),
    ],
)
def test_imports_of_a_source(source: str, found: list[str]) -> None:
    assert list(imported(source.encode())) == found


def test_which_imports_are_packages() -> None:
    assert [
        is_package(name)
        for name in ("hono", "@x/y", "./a", "../a", "/a", "node:buffer", "cloudflare:workers")
    ] == [
        True,
        True,
        *[False] * 5,
    ]


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"index.ts": "export default {}"}, "index.ts is no JavaScript yet"),
        ({"index.js": "import { Hono } from 'hono'"}, "index.js imports hono from npm"),
        ({"index.js": "import './a.js'", "a.js": "import z from 'zod'"}, r"^a\.js imports zod from npm"),
        (
            {"index.js": "import './b/a.js'", "b/a.js": "import z from 'zod'"},
            r"^b/a\.js imports zod from npm",
        ),
    ],
)
def test_without_esbuild_it_is_said_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], why: str
) -> None:
    monkeypatch.setenv("PATH", "")
    write(tmp_path, files)
    with pytest.raises(CliError, match=why) as caught:
        read_sources(tmp_path)
    assert "npm install --save-dev esbuild" in caught.value.hint


def test_a_project_that_names_esbuild_was_only_never_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "package.json").write_text('{"devDependencies": {"esbuild": "^0.28.0"}}')
    (tmp_path / "worker.ts").write_text("export default {}")
    with pytest.raises(CliError) as caught:
        read_sources(tmp_path)
    assert caught.value.hint == f"npm install (in {tmp_path}), and try again"


def test_a_typescript_file_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadUsage, match=r"worker\.ts: there is no such file"):
        read_sources(tmp_path / "worker.ts")


def fake_esbuild(folder: Path, script: str) -> None:
    """In the project's own node_modules."""
    path = folder / "node_modules" / ".bin" / "esbuild"
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_the_project_s_own_esbuild_bundles_and_its_source_map_goes_along(tmp_path: Path) -> None:
    project = write(tmp_path / "project", {"src/index.ts": "export default {}"})
    fake_esbuild(
        project,
        'for a in "$@"; do case $a in --outfile=*) out=${a#--outfile=};; esac; done\n'
        'echo "// $@" > "$out"; echo "{}" > "$out.map"',
    )
    sources = read_sources(project / "src" / "index.ts")
    assert [(file.name, file.content_type) for file in sources.files] == [
        ("index.js", ESM),
        ("index.js.map", SOURCE_MAP),
    ]
    told = sources.files[0].data.decode()
    assert "--bundle --format=esm" in told
    assert "src/index.ts" in told
    assert sources.size == len(told)


@pytest.mark.parametrize(
    ("named", "has_package", "shown"),
    [
        ("project/src/index.ts", True, "src/index.ts"),
        ("project", False, "src/index.ts"),
        ("project/src/index.ts", False, "project/src/index.ts"),  # from where the command runs
    ],
)
def test_source_map_names_sources_from_the_project_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, has_package: bool, shown: str
) -> None:
    project = write(tmp_path / "project", {"src/index.ts": "export default {}"})
    if has_package:
        write(project, {"package.json": "{}"})
    told = {"version": 3, "sources": ["@@"], "mappings": "AAAA"}
    fake_esbuild(
        project,
        'for a in "$@"; do case $a in --outfile=*) out=${a#--outfile=};; esac; done\n'
        'up=$(dirname "$out" | sed "s|[^/][^/]*|..|g; s|^/||"); : > "$out"\n'
        f'echo \'{json.dumps(told)}\' | sed "s|@@|$up{project}/src/index.ts|" > "$out.map"',
    )
    monkeypatch.chdir(tmp_path)
    sources = read_sources(tmp_path / named)
    assert json.loads(sources.files[1].data) == {**told, "sources": [shown]}


def test_what_esbuild_says_is_passed_on(tmp_path: Path) -> None:
    write(tmp_path, {"index.ts": "export default {"})
    fake_esbuild(tmp_path, 'echo "index.ts:1:17: ERROR: Unexpected end of file" >&2; exit 1')
    with pytest.raises(CliError, match="Unexpected end of file"):
        read_sources(tmp_path)


def test_javascript_is_deployed_with_its_modules(host: RecordingApi, run: Run, tmp_path: Path) -> None:
    write(tmp_path, {"worker.js": 'import "./util.js";' + HELLO, "util.js": ""})
    ended = run(
        "deploy", str(tmp_path / "worker.js"), "--name", "hello", "--namespace", "production", "--var", "A=b"
    )
    assert ended.code == 0, ended.err
    asked = host.only("PUT")
    assert asked.path.endswith(SCRIPT)
    parts = parts_of(asked)
    assert list(parts) == ["metadata", "worker.js", "util.js"]
    assert parts["worker.js"].get_content_type() == ESM
    assert parts["worker.js"].get_filename() == "worker.js"
    assert metadata_of(asked)["main_module"] == "worker.js"
    assert metadata_of(asked)["bindings"] == [{"type": "plain_text", "name": "A", "text": "b"}]
    assert json.dumps(metadata_of(asked))
    assert f"{len(HELLO) + 19} B" in ended.out
