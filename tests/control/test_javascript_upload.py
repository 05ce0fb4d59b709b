"""A worker in JavaScript is taken however a client sends it, kept as one object, and given back as it came."""

from __future__ import annotations

import json
from collections.abc import Iterator
from email.message import Message
from email.parser import BytesParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from control.envelope import ApiError
from control.javascript_upload import as_parts, is_service_worker, read_bundle
from control.multipart import Part
from control.upload_metadata import UploadMetadata
from runtime.javascript.bundle import Bundle, ModuleType, decode
from runtime.module_problems import ScriptError, ScriptFailed
from tests.control.support import Host, ok, refused, script_path, worker_module
from tests.runtime.javascript.test_source_map import ESBUILD
from tests.support.waiting import until

ESM, SCRIPT, WASM = "application/javascript+module", "application/javascript", "application/wasm"
SOURCE = b"export default { fetch() { return new Response('hello'); } };"


def part(name: str, content_type: str = ESM, data: bytes = SOURCE, file_name: str | None = None) -> Part:
    return Part(name, file_name, content_type, data)


def read(parts: list[Part], **metadata: object) -> Bundle | None:
    return read_bundle(parts, UploadMetadata(**metadata))  # type: ignore[arg-type]


def taken(parts: list[Part], **metadata: object) -> dict[str, str]:
    """Name → type of each module, the main one with a star."""
    found = read(parts, **metadata)
    assert found is not None
    return {
        ("*" if module.name == found.main else "") + module.name: module.type.value
        for module in found.modules
    }


@pytest.mark.parametrize(
    ("parts", "metadata", "expected"),
    [
        # wrangler
        ([part("index.js", file_name="index.js")], {"main_module": "index.js"}, {"*index.js": "esm"}),
        # the Python SDK: parts called `files`
        ([part("files", file_name="w.mjs")], {"main_module": "w.mjs"}, {"*w.mjs": "esm"}),
        # curl, which says what it takes a .js for
        ([part("worker.js", "text/javascript")], {"main_module": "worker.js"}, {"*worker.js": "esm"}),
        (
            [part("worker.js", "application/octet-stream")],
            {"main_module": "worker.js"},
            {"*worker.js": "esm"},
        ),
        ([part("worker.js", "")], {"main_module": "worker.js"}, {"*worker.js": "esm"}),
        # nothing named
        ([part("worker.js")], {}, {"*worker.js": "esm"}),
        ([part("worker.js", SCRIPT)], {}, {"*worker.js": "script"}),
        # service-worker syntax
        ([part("script", SCRIPT)], {"body_part": "script"}, {"*script": "script"}),
        # every type of module
        (
            [
                part("index.js"),
                part("./util.js"),
                part("old.cjs", SCRIPT),
                part("./page.html", "text/html", b"<p>"),
                part("a.txt", "text/plain", b"a"),
                part("s.json", "application/json", b"{}"),
                part("d.bin", "application/octet-stream", b"\0"),
                part("./1a2b-m.wasm", WASM, b"\0asm\1\0\0\0"),
                part("index.js.map", "application/source-map", b"{}"),
            ],
            {"main_module": "index.js"},
            {
                "*index.js": "esm",
                "util.js": "esm",
                "old.cjs": "cjs",
                "page.html": "text",
                "a.txt": "text",
                "s.json": "json",
                "d.bin": "data",
                "1a2b-m.wasm": "wasm",
                "index.js.map": "map",
            },
        ),
        ([part("./index.js")], {"main_module": "./index.js"}, {"*index.js": "esm"}),
    ],
)
def test_modules_have_the_types_that_the_client_said(
    parts: list[Part], metadata: dict[str, object], expected: dict[str, str]
) -> None:
    assert taken(parts, **metadata) == expected


@pytest.mark.parametrize(
    ("parts", "metadata"),
    [
        ([part("x.wasm", WASM, b"\0asm")], {"main_module": "x.wasm"}),
        ([part("x.wasm", WASM, b"\0asm")], {}),
        # wrangler with a shim and unsafe metadata: what is named is wasm
        (
            [part("index.js"), part("x.wasm", WASM, b"\0asm")],
            {"main_module": "index.js", "wasm_main": "x.wasm"},
        ),
        # a wasm worker that somebody calls a script
        ([part("x.js", "application/octet-stream", b"\0asm")], {"main_module": "x.js"}),
        # two scripts, and none is named
        ([part("a.js"), part("b.js")], {}),
        ([part("a.js"), part("x.wasm", WASM, b"\0asm")], {}),
        ([], {}),
    ],
)
def test_what_is_no_javascript_is_left_to_wasm(parts: list[Part], metadata: dict[str, object]) -> None:
    assert read(parts, **metadata) is None


@pytest.mark.parametrize(
    ("parts", "metadata", "status", "words"),
    [
        (
            [part("a.js")],
            {"body_part": "b.js"},
            400,
            "body_part: 0 parts are called 'b.js'; there are 'a.js'",
        ),
        ([part("a.js"), part("a.js")], {"body_part": "a.js"}, 400, "2 parts are called"),
        (
            [part("a.js"), part("./b.js"), part("b.js")],
            {"main_module": "a.js"},
            400,
            "two modules are called",
        ),
        ([part("a.js"), part("b.py", "text/x-python")], {"main_module": "a.js"}, 400, "'b.py' is Python"),
        ([part("a.js"), part("b", "image/png")], {"main_module": "a.js"}, 400, "content type 'image/png'"),
        (
            [part("a.js"), part("b", "text/plain", bytes(17 << 20))],
            {"main_module": "a.js"},
            413,
            "16,777,216",
        ),
        (
            [part("a.js")],
            {"main_module": "a.js", "warm_up": "a b"},
            400,
            "warm_up: 'a b' is no path",
        ),
        ([part("a.js")], {"main_module": "a.js", "warm_up": ""}, 400, "warm_up: empty"),
        ([part("a.js")], {"main_module": "a.js", "warm_up": "/" + "x" * 2048}, 400, "at most 2,048"),
        ([part("a", WASM)], {"main_module": "a", "warm_up": "/"}, 400, "warm_up: only workers in JavaScript"),
        (
            [part("a.js")],
            {"main_module": "a.js", "compatibility_flags": ["x"] * 9 + ["y" * 129]},
            400,
            "flags",
        ),
    ],
)
def test_what_can_not_be_a_worker_is_refused(
    parts: list[Part], metadata: dict[str, object], status: int, words: str
) -> None:
    with pytest.raises(ApiError) as caught:
        read(parts, **metadata)
    assert caught.value.status == status
    assert words in caught.value.message


words = st.text('abjs./"\r\n\0 ü', max_size=6)
some_parts = st.builds(
    Part,
    name=words,
    file_name=st.none() | words,
    content_type=st.sampled_from(["", ESM, SCRIPT, WASM, "text/plain", "application/source-map", "x/y"]),
    data=st.sampled_from([b"", b"\0asm\1\0\0\0", SOURCE]),
)


@example([Part("././a.js", None, ESM, SOURCE)], "././a.js", None)
@example([Part("a", None, ESM, b"\0asm\1\0\0\0")], None, None)
@given(st.lists(some_parts, max_size=4), st.none() | words, st.none() | words)
def test_any_parts_are_a_worker_or_not_or_refused(
    sent: list[Part], main_module: str | None, body_part: str | None
) -> None:
    try:
        found = read(sent, main_module=main_module, body_part=body_part)
    except ApiError as error:
        assert error.status in (400, 413)  # noqa: PT017 - most are none
        return
    if found is not None:
        assert len(found.modules) == len(sent)
        named = {"body_part" if is_service_worker(found) else "main_module": found.main}
        assert read(as_parts(found), **named) == found


# -- over the API ------------------------------------------------------------------------------------


def form(
    *files: tuple[str, str, bytes], **metadata: object
) -> list[tuple[str, tuple[str | None, bytes, str]]]:
    sent: list[tuple[str, tuple[str | None, bytes, str]]] = [
        ("metadata", (None, json.dumps(metadata).encode(), "application/json"))
    ]
    return sent + [(name, (name, data, content_type)) for name, content_type, data in files]


def read_form(content_type: str, body: bytes) -> Iterator[Message]:
    parsed = BytesParser().parsebytes(f"content-type: {content_type}\r\n\r\n".encode() + body)
    for each in parsed.get_payload():
        assert isinstance(each, Message)
        yield each


async def test_javascript_is_stored_as_one_bundle_and_given_back_as_it_came(host: Host) -> None:
    files = (
        ("index.js", ESM, SOURCE),
        ("lib/util.js", ESM, b"export const x = 1;\r\n--tenantry-module-7f3a9c\r\n"),
        ("data.bin", "application/octet-stream", b"\0\1\2\r\n"),
    )
    sent = form(*files, main_module="index.js", compatibility_flags=["nodejs_compat"])
    ok(await host.api.put(script_path("shop"), files=sent))
    [prepared] = host.publisher.prepared
    assert decode(prepared).flags == ("nodejs_compat",)
    response = await host.api.get(script_path("shop") + "/content")
    assert response.headers["cf-entrypoint"] == "index.js"
    found = [
        (each.get_filename(), each.get_content_type(), each.get_payload(decode=True))
        for each in read_form(response.headers["content-type"], response.content)
    ]
    assert sorted(found) == sorted(files)
    assert found[0][0] == "index.js"


async def test_service_worker_is_given_back_as_a_script(host: Host) -> None:
    source = b"addEventListener('fetch', event => event.respondWith(new Response('hi')));"
    ok(await host.api.put(script_path("old"), files=form(("script", SCRIPT, source), body_part="script")))
    response = await host.api.get(script_path("old") + "/content")
    assert response.headers["content-type"].startswith("application/javascript")
    assert response.content == source


async def test_service_worker_with_other_parts_is_given_back_with_them(host: Host) -> None:
    files = [("script", SCRIPT, b"addEventListener('fetch', () => {});"), ("page.html", "text/html", b"<p>")]
    ok(await host.api.put(script_path("old"), files=form(*files, body_part="script")))
    response = await host.api.get(script_path("old") + "/content")
    found = {
        each.get_filename(): each.get_payload(decode=True)
        for each in read_form(response.headers["content-type"], response.content)
    }
    assert found == {name: data for name, _, data in files}


@pytest.mark.parametrize(("memory_mb", "status"), [(3, 400), (4, 200)])
async def test_memory_limit_below_what_it_begins_with_is_refused(
    host: Host, memory_mb: int, status: int
) -> None:
    host.publisher.memory_bytes = (3 << 20) + 65_536
    sent = form(("a.js", ESM, SOURCE), main_module="a.js", limits={"memory_mb": memory_mb})
    response = await host.api.put(script_path("small"), files=sent)
    assert response.status_code == status
    if status == 400:
        assert "limits.memory_mb: 3; " in response.text
        assert "take 4 to begin with" in response.text
        await until(lambda: not host.services.uploads.under_way)
    assert len([*host.objects.digests()]) == (status == 200)


async def test_error_of_the_script_is_told_with_its_place(host: Host) -> None:
    host.publisher.failure = ScriptFailed(
        ScriptError("SyntaxError", "unexpected token", "index.js", 3, 5, "at …")
    )
    sent = form(("index.js", ESM, b"export default {"), main_module="index.js")
    response = await host.api.put(script_path("shop"), files=sent)
    message = refused(response, 400, 10021, "main_module")
    assert message == "main_module: Uncaught SyntaxError: unexpected token at index.js:3:5"
    await until(lambda: not host.services.uploads.under_way)
    assert [*host.objects.digests()] == []
    meta = response.json()["errors"][0]["meta"]
    assert (meta["problem"], meta["file"], meta["line"], meta["column"]) == (
        "script_failed",
        "index.js",
        3,
        5,
    )


async def test_what_was_logged_before_the_error_is_told_with_it(host: Host) -> None:
    host.publisher.failure = ScriptFailed(ScriptError("Error", "x", lines=((1, "so far"),)))
    response = await host.api.put(
        script_path("shop"), files=form(("index.js", ESM, b"x"), main_module="index.js")
    )
    assert response.json()["errors"][0]["meta"]["startup_logs"] == [{"level": 1, "text": "so far"}]


async def test_error_of_a_bundle_is_told_with_its_place_in_the_source(host: Host) -> None:
    host.publisher.failure = ScriptFailed(
        ScriptError("RangeError", "of what?", "index.js", 4, 15, "    at price (index.js:4:15)")
    )
    sent = form(
        ("index.js", ESM, b"export default {}"),
        ("index.js.map", "application/source-map", json.dumps(ESBUILD).encode()),
        main_module="index.js",
    )
    response = await host.api.put(script_path("shop"), files=sent)
    message = refused(response, 400, 10021, "main_module")
    assert message == "main_module: Uncaught RangeError: of what? at src/price.ts:4:15"
    meta = response.json()["errors"][0]["meta"]
    assert (meta["file"], meta["stack"]) == ("src/price.ts", "    at price (src/price.ts:4:15)")


async def test_wasm_beside_a_javascript_worker_is_a_module_of_it(host: Host) -> None:
    sent = form(("index.js", ESM, SOURCE), ("./abc-x.wasm", WASM, worker_module()), main_module="index.js")
    ok(await host.api.put(script_path("shop"), files=sent))
    assert {module.name: module.type for module in decode(host.publisher.prepared[0]).modules} == {
        "index.js": ModuleType.ESM,
        "abc-x.wasm": ModuleType.WASM,
    }
