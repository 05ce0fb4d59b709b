"""What is read of a log has its stack traces in the places of the sources, of the version that wrote them; a refused
upload says where in its sources it failed.
"""

from __future__ import annotations

import asyncio
import json

import pytest

from control.source_traces import SourceTraces
from model.errors import PlatformFault
from model.identity import NamespaceName, RayId, ScriptName
from model.observer import LogLine
from runtime.javascript.bundle import Bundle, Module, ModuleType, encode, make
from runtime.javascript.source_map import SourceMap
from runtime.javascript.traces import maps_of
from runtime.module_problems import ScriptError
from storage.object_store import FolderObjectStore
from tests.control.support import Host, ok, script_path, worker_module
from tests.runtime.javascript.test_source_map import ESBUILD, plain

TEXT = "Uncaught RangeError: of what?\n    at price (index.js:4:15)"
SHOWN = "Uncaught RangeError: of what?\n    at price (src/price.ts:4:15)"


def line(module: str, text: str = TEXT) -> LogLine:
    return LogLine(5, 4, text, RayId("ray"), NamespaceName("prod"), ScriptName("shop"), "shop", module)


def bundle(*maps: bytes, note: bytes = b"") -> bytes:
    modules = [Module("index.js", ModuleType.ESM, note)]
    modules += [Module("index.js.map", ModuleType.SOURCE_MAP, data) for data in maps]
    return encode(make("index.js", modules))


async def test_log_is_shown_in_the_places_of_the_version_that_wrote_it(host: Host) -> None:
    await host.namespace()
    ok(await host.deploy("shop", "prod"))
    objects = FolderObjectStore(host.folder / "objects")
    digest = objects.put(bundle(json.dumps(ESBUILD).encode()))
    host.logs.lines += [line(digest), line(""), line("0" * 64), line(digest, "no trace")]
    shown = ok(await host.api.get(script_path("shop", "prod") + "/logs"))
    assert [each["text"] for each in shown["lines"]] == [SHOWN, TEXT, TEXT, "no trace"]


async def test_wasm_and_what_is_no_bundle_have_no_maps() -> None:
    traces = SourceTraces({"wasm": worker_module(), "other": b""}.__getitem__)
    shown = await traces.shown([line("wasm"), line("other")])
    assert [each.text for each in shown] == [TEXT, TEXT]


async def test_maps_are_read_once_and_forgotten_the_least_recently_used_first() -> None:
    read: list[str] = []
    stored = {name: bundle(plain("AAAA;" * 1_000), note=name.encode()) for name in ("a", "b", "c")}

    def read_one(digest: str) -> bytes:
        read.append(digest)
        if digest not in stored:
            raise PlatformFault("it is gone")
        return stored[digest]

    one = SourceTraces(read_one)
    await one.shown([line("a"), line("a"), line("gone"), line("gone")])
    assert read == ["a", "gone"]
    read.clear()
    traces = SourceTraces(read_one, most_bytes=2 * one.kept_bytes)
    await traces.shown([line("a"), line("b"), line("a"), line("c"), line("a"), line("b")])
    assert read == ["a", "b", "c", "b"]
    assert traces.kept_bytes <= 2 * one.kept_bytes


async def test_a_map_that_is_too_large_is_not_kept_and_the_trace_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("runtime.javascript.source_map.MOST_LINES", 10)
    traces = SourceTraces(lambda _: bundle(plain("AAAA;" * 20)))
    assert [each.text for each in await traces.shown([line("a")])] == [TEXT]
    assert traces.kept_bytes < 1_000


async def test_a_map_of_many_modules_is_counted_once() -> None:
    modules = [Module(f"{at}.js", ModuleType.ESM, b"//# sourceMappingURL=one.map") for at in range(100)]
    modules.append(Module("one.map", ModuleType.SOURCE_MAP, plain("AAAA;" * 10_000)))
    traces = SourceTraces(lambda _: encode(make("0.js", modules)))
    await traces.shown([line("a")])
    assert traces.kept_bytes < 500_000  # one has 200 KB


async def test_maps_are_read_one_upload_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, most = [0], [0]

    def maps_one(bundle: Bundle) -> dict[str, SourceMap]:
        reading[0] += 1
        most[0] = max(most[0], reading[0])
        found = maps_of(bundle)
        reading[0] -= 1
        return found

    monkeypatch.setattr("control.source_traces.maps_of", maps_one)
    module = bundle(plain("AAAA;" * 50_000))
    traces = SourceTraces(lambda _: module)
    error = ScriptError("TypeError", "no", "index.js", 4, 15)
    told = await asyncio.gather(
        traces.shown([line("a")]), *(traces.of_refused(error, module) for _ in range(5))
    )
    assert [each.file for each in told[1:] if isinstance(each, ScriptError)] == ["a.ts"] * 5
    assert most == [1]
