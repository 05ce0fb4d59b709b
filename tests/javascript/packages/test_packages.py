"""Well-known packages of npm do in a worker what their documentation says: the examples in workers/, bundled as
`tenantry deploy` bundles them, deployed to deltas, and run. docs/javascript.md lists what was tried.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from bindings.memory import MemorySqlDatabase
from javascript.engine.toolchain import ROOT
from model.scripts import BindingKind
from runtime.capi.guest import live_guests
from tests.support.guests import request
from tests.support.javascript_engine import built_engine
from tests.support.javascript_guests import JavaScriptGuests
from tests.support.npm import bundled, installed, node

built_engine()

HERE: Final = Path(__file__).parent
#: The worker that has a package's examples, by the package.
WORKERS: Final[Mapping[str, str]] = {
    "@cfworker/json-schema": "json-schema.js",
    **{
        name: f"{name}.js"
        for name in json.loads((HERE / "package.json").read_text())["dependencies"]
        if "/" not in name
    },
}


@pytest.fixture(scope="session")
def bundles() -> Mapping[str, bytes]:
    """The code of each worker, by its file's name."""
    folder = installed(HERE)
    shutil.rmtree(folder / "workers", ignore_errors=True)
    shutil.copytree(HERE / "workers", folder / "workers")
    shutil.copy(HERE / "generate.mjs", folder)
    node(folder, "generate.mjs")
    made = bundled(folder, [f"workers/{name}" for name in WORKERS.values()])
    return {Path(name).name: code for name, code in made.items()}


@pytest.fixture
async def guests() -> AsyncIterator[JavaScriptGuests]:
    made = JavaScriptGuests()
    yield made
    made.close()
    assert live_guests() == 0


@pytest.mark.parametrize("package", sorted(WORKERS))
async def test_documented_examples_give_what_they_should(
    package: str, bundles: Mapping[str, bytes], guests: JavaScriptGuests
) -> None:
    database = MemorySqlDatabase()
    worker = guests.deploy(
        bundles[WORKERS[package]],
        bindings={"DB": (BindingKind.D1, database)},
        limits={"cpu_ms": 20_000, "wall_ms": 60_000},
    )
    answer = await guests.answer(worker, request(path="/examples"))
    database.close()
    told = json.loads(bytes(answer.body))
    assert len(told) >= 3
    assert [(each["name"], each["got"]) for each in told] == [(each["name"], each["wanted"]) for each in told]


async def test_a_router_serves_requests_each_in_a_heap_of_its_own(
    bundles: Mapping[str, bytes], guests: JavaScriptGuests
) -> None:
    hono, itty = guests.deploy(bundles["hono.js"]), guests.deploy(bundles["itty-router.js"])
    for _ in range(3):
        answer = await guests.answer(hono, request(path="/posts/7?page=2"))
        assert json.loads(bytes(answer.body)) == {"id": "7", "page": "2", "tags": []}
        answer = await guests.answer(hono, request(path="/text"))
        assert bytes(answer.body) == b"one\ntwo\n"
        answer = await guests.answer(itty, request(path="/hello/you"))
        assert bytes(answer.body) == b'"Hello, you!"'


def test_each_package_and_its_version_is_in_the_docs() -> None:
    page = (ROOT / "docs" / "javascript.md").read_text()
    table = page.partition("### Packages that were tried")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `([^`]+)` ([\d.]+) \|", table, re.MULTILINE))
    assert rows == json.loads((HERE / "package.json").read_text())["dependencies"]
