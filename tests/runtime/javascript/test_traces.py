"""Stack traces are told in the places of the sources, as far as the bundle's own maps know them, and nothing else of
a line is changed.
"""

from __future__ import annotations

import base64
import time

import pytest

from runtime.javascript.bundle import Bundle, Module, ModuleType, make
from runtime.javascript.traces import has_frames, maps_of, translate, translate_error
from runtime.module_problems import ScriptError
from tests.runtime.javascript.test_source_map import ESBUILD, encoded, plain

TRACE = """Uncaught RangeError: of what?
    at price (index.js:4:15)
    at fetch (index.js:12:19)"""


def bundle(code: bytes = b"export {};", **maps: bytes) -> Bundle:
    modules = [Module("index.js", ModuleType.ESM, code)]
    modules += [Module(name.replace("__", "."), ModuleType.SOURCE_MAP, data) for name, data in maps.items()]
    return make("index.js", modules)


def test_frames_are_those_of_the_sources() -> None:
    maps = maps_of(bundle(index__js__map=encoded(ESBUILD)))
    assert has_frames(TRACE)
    assert translate(TRACE, maps).splitlines() == [
        "Uncaught RangeError: of what?",
        "    at price (src/price.ts:4:15)",
        "    at fetch (src/index.ts:7:27)",
    ]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("    at index.js:4:15", "    at src/price.ts:4:15"),
        ("    at <anonymous> (index.js:4:15)", "    at <anonymous> (src/price.ts:4:15)"),
        ("    at index.js:1:1", "    at index.js:1:1"),  # the map says nothing of it
        ("    at other.js:4:15", "    at other.js:4:15"),
        ("    at fetch (native)", "    at fetch (native)"),
        ("    at index.js:4:", "    at index.js:4:"),
        ("    at index.js:99999999999999999999:1", "    at index.js:99999999999999999999:1"),
        ("said of index.js:4:15", "said of index.js:4:15"),
        ("at", "at"),
    ],
)
def test_only_frames_are_changed(line: str, shown: str) -> None:
    maps = maps_of(bundle(index__js__map=encoded(ESBUILD)))
    assert translate(line, maps) == shown


@pytest.mark.parametrize(
    ("code", "maps", "is_found"),
    [
        (b"x;\n//# sourceMappingURL=maps.map\n", {"maps__map": plain("AAAA")}, True),
        (b"x;\n//# sourceMappingURL=./maps.map", {"maps__map": plain("AAAA")}, True),
        (b"x;\n//# sourceMappingURL=gone.map", {"index__js__map": plain("AAAA")}, True),  # its name says it
        (b"x;", {"index__js__map": plain("AAAA")}, True),
        (b"x;", {"other__js__map": plain("AAAA")}, False),
        (b"x;\n//# sourceMappingURL=/etc/passwd", {}, False),
        (b"x;\n//# sourceMappingURL=../../maps.map", {"maps__map": plain("AAAA")}, False),
        (b"x;\n//# sourceMappingURL=https://maps.example/maps.map", {"maps__map": plain("AAAA")}, False),
        (b"//# sourceMappingURL=maps.map\nx;", {"maps__map": plain("AAAA")}, False),  # not at its end
        (
            b"x;\n//# sourceMappingURL=data:application/json;base64," + base64.b64encode(plain("AAAA")),
            {},
            True,
        ),
        (b"x;\n//# sourceMappingURL=data:application/json;base64,!", {}, False),
        (b"x;", {"index__js__map": b"no map"}, False),
    ],
)
def test_a_map_is_one_of_the_upload_by_its_name(code: bytes, maps: dict[str, bytes], is_found: bool) -> None:
    assert bool(maps_of(bundle(code, **maps))) is is_found


def test_refusal_names_the_place_in_the_source() -> None:
    error = ScriptError("TypeError", "no", "index.js", 4, 15, "    at index.js:4:15")
    maps = maps_of(bundle(index__js__map=encoded(ESBUILD)))
    assert translate_error(error, maps) == ScriptError(
        "TypeError", "no", "src/price.ts", 4, 15, "    at src/price.ts:4:15"
    )
    assert translate_error(error, {}) is error


def test_a_line_made_to_take_long_does_not() -> None:
    maps = maps_of(bundle(index__js__map=encoded(ESBUILD)))
    began = time.process_time()
    for text in ("at " + "a" * 16_000, "    at ((((" * 1_600, "\n    at " * 2_000, "at " + ":" * 16_000):
        translate(text, maps)
    assert time.process_time() - began < 0.5


def test_a_map_that_many_modules_name_is_read_once() -> None:
    modules = [Module(f"{at}.js", ModuleType.ESM, b"//# sourceMappingURL=one.map") for at in range(400)]
    modules.append(Module("one.map", ModuleType.SOURCE_MAP, plain(",".join(["AAAA"] * 50_000))))
    began = time.process_time()
    maps = maps_of(make("0.js", modules))
    assert time.process_time() - began < 2.0
    assert len(maps) == 400
    assert len({id(map_) for map_ in maps.values()}) == 1


def test_maps_of_a_bundle_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.javascript.traces.MOST_ENTRIES", 100)
    modules = [Module(f"{at}.js", ModuleType.ESM, b"") for at in range(4)]
    modules += [
        Module(f"{at}.js.map", ModuleType.SOURCE_MAP, plain("AAAA," * 69 + "AAAA", f"{at}.ts"))
        for at in range(4)
    ]
    maps = maps_of(make("0.js", modules))
    assert list(maps) == ["0.js", "1.js"]  # the second took what was left, and more


def test_what_a_map_can_make_of_a_line_is_bounded() -> None:
    maps = maps_of(bundle(index__js__map=plain("AAAA", "a" * 500)))
    text = "x" + "\n    at index.js:1:1" * 10_000
    shown = translate(text, maps)
    assert len(shown) < len(text) + 70_000
    assert shown.startswith("x\n    at aaaa")
    assert shown.endswith("at index.js:1:1")
