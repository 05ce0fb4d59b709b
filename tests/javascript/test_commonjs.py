"""CommonJS: `require` of any file of the upload, once each, as Node.js has it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.javascript.harness import Refused, handler, tenant

Files = dict[str, str]


def kind_of(name: str) -> str:
    endings = {"json": "json", "txt": "text", "bin": "data", "mjs": "esm"}
    return endings.get(name.rpartition(".")[2], "cjs")


async def told(main: str, files: Files, body: str = "return Response.json(it);") -> Any:
    others = [("main.cjs", "cjs", main.encode())]
    others += [(name, kind_of(name), text.encode()) for name, text in files.items()]
    answer = await tenant(handler(body, "import it from './main.cjs';"), others=others).get()
    assert answer.error is None, answer.error
    return json.loads(answer.text)


@pytest.mark.parametrize(
    ("main", "files", "result"),
    [
        ("module.exports = require('./x.js')", {"x.js": "exports.a = 1"}, {"a": 1}),
        ("module.exports = require('./x')", {"x.js": "exports.a = 1"}, {"a": 1}),
        ("module.exports = require('./x')", {"x.cjs": "module.exports = __filename + __dirname"}, "x.cjs."),
        ("module.exports = require('./lib')", {"lib/index.js": "module.exports = require('../up')", "up.js": "module.exports = 'up'"}, "up"),
        ("module.exports = require('./x.json').a", {"x.json": '{"a": [1]}'}, [1]),
        ("module.exports = require('./x')", {"x.json": '{"a": 1}'}, {"a": 1}),
        ("module.exports = require('./x.txt')", {"x.txt": "text"}, "text"),
        ("module.exports = require('./x.bin').byteLength", {"x.bin": "abc"}, 3),
        ("module.exports = [require('./x.mjs').a, require('./x.mjs').default]", {"x.mjs": "export const a = 1; export default 2;"}, [1, 2]),
        ("require('./x').n++; module.exports = require('./x').n", {"x.js": "exports.n = (globalThis.ran = (globalThis.ran ?? 0) + 1)"}, 2),
        ("try { require('./x') } catch (e) { try { require('./x') } catch (e) { module.exports = e.message } }", {"x.js": "throw new Error('again ' + (globalThis.ran = (globalThis.ran ?? 0) + 1))"}, "again 2"),
        # A ring: who comes second sees what there is so far.
        ("module.exports = require('./a')", {"a.js": "exports.early = 1; const b = require('./b'); exports.late = b.saw", "b.js": "exports.saw = { ...require('./a') }"}, {"early": 1, "late": {"early": 1}}),
        ("if (false) require('./x'); module.exports = 'left'", {"x.js": "throw new Error('it was run')"}, "left"),
    ],
)  # fmt: skip
async def test_require_gives_what_a_file_exports(main: str, files: Files, result: object) -> None:
    assert await told(main, files) == result


async def test_imported_and_required_it_is_one_module() -> None:
    others = [("x.cjs", "cjs", b"exports.n = 0"), ("y.cjs", "cjs", b"require('./x').n++")]
    top = "import './y.cjs'; import x from './x.cjs'; import './y.cjs';"
    answer = await tenant(handler("return Response.json(x.n);", top), others=others).get()
    assert json.loads(answer.text) == 1


async def test_a_handler_may_require_what_nobody_did_before() -> None:
    main = "module.exports = (name) => require(name)"
    files = {"late.js": "module.exports = 'late'", "d.json": "[1]"}
    body = "return Response.json([it('./late'), it('./d.json'), it('./late') ]);"
    assert await told(main, files, body) == ["late", [1], "late"]


async def test_an_error_s_place_is_in_the_file_that_threw() -> None:
    with pytest.raises(Refused) as refused:
        tenant(
            "const x = require('./x'); module.exports = { fetch() {} };",
            others=[("x.js", "cjs", b"\n\nnull.y")],
            kind="cjs",
        )
    assert (refused.value.error["file"], refused.value.error["line"]) == ("x.js", 3)


def test_a_file_that_there_is_not_is_named() -> None:
    with pytest.raises(Refused, match=r'require\("./none"\): "index.js" has no such file'):
        tenant("require('./none')", kind="cjs")


def test_an_es_module_that_waits_can_not_be_required() -> None:
    with pytest.raises(Refused, match=r'"x.mjs" has a top-level await'):
        tenant("require('./x.mjs')", others=[("x.mjs", "esm", b"await new Promise(() => {});")], kind="cjs")
