"""Source maps are read as ECMA-426 has them; a hostile one ends in MalformedMap, in bounded time and memory."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.javascript import source_map
from runtime.javascript.source_map import MalformedMap, Place, parse

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

#: What esbuild writes of two files in TypeScript.
ESBUILD = {
    "version": 3,
    "sources": ["../src/price.ts", "../src/index.ts"],
    "mappings": ";AACO,SAAS,MAAM,IAA2B;AAC/C,MAAI,OAAO,MAAM;AACf,UAAM,IAAI,WAAW,UAAU;AAAA,EACjC;AACA,SAAO,GAAG,"
    "SAAS;AACrB;;;ACFA,IAAO,gBAAQ;AAAA,EACb,MAAM,MAAM,SAAkB,KAA6B;AACzD,UAAM,QAAgB,MAAM,IAAI,IAAI,QAAQ,GAAG,EAAE,aAAa,IAAI,"
    "IAAI,CAAC;AACvE,WAAO,SAAS,KAAK,EAAE,MAAM,CAAC;AAAA,EAChC;AACF;",
    "names": [],
}


def encoded(told: dict[str, Any]) -> bytes:
    return json.dumps(told).encode()


def plain(mappings: str, *sources: str | None, **more: object) -> bytes:
    return encoded({"version": 3, "sources": list(sources or ("a.ts",)), "mappings": mappings, **more})


def vlq(number: int) -> str:
    value = -number << 1 | 1 if number < 0 else number << 1
    text = ""
    while True:
        value, digit = value >> 5, value & 31
        if not value:
            return text + _LETTERS[digit]
        text += _LETTERS[digit | 32]


def test_what_esbuild_wrote_leads_back_to_typescript() -> None:
    found = parse(encoded(ESBUILD))
    assert found.find(3, 14) == Place(
        "src/price.ts", 3, 14
    )  # `throw new RangeError`, of the fourth line of both
    assert found.find(3, 15) == Place("src/price.ts", 3, 14)  # within the same segment
    assert found.find(11, 18) == Place("src/index.ts", 6, 26)  # price(…)
    assert found.find(0, 5) is None  # esbuild's own comment
    assert found.find(9, 0) == Place("src/index.ts", 4, 0)
    assert found.find(500, 0) is None
    assert found.find(-1, 0) is None


@given(
    st.lists(
        st.lists(
            st.tuples(
                st.integers(0, 90_000), st.integers(0, 2), st.integers(0, 70_000), st.integers(0, 9_999)
            ),
            unique_by=lambda segment: segment[0],
            max_size=5,
        ).map(sorted),
        max_size=6,
    )
)
def test_every_place_that_was_written_is_found_again(lines: list[list[tuple[int, int, int, int]]]) -> None:
    written, before = [], (0, 0, 0)
    for segments in lines:
        column, texts = 0, []
        for generated, *origin in segments:
            deltas = [generated - column, *(new - old for new, old in zip(origin, before, strict=True))]
            texts.append("".join(map(vlq, deltas)))
            column, before = generated, (origin[0], origin[1], origin[2])
        written.append(",".join(texts))
    found = parse(plain(";".join(written), "a.ts", "b.ts", "c.ts"))
    for number, segments in enumerate(lines):
        for generated, source, line, column in segments:
            assert found.find(number, generated) == Place(("a.ts", "b.ts", "c.ts")[source], line, column)


def test_segment_without_a_source_leads_nowhere() -> None:
    found = parse(plain("AAAA,E,EAAE"))
    assert found.find(0, 1) == Place("a.ts", 0, 0)
    assert found.find(0, 2) is None
    assert found.find(0, 4) == Place("a.ts", 0, 2)


def test_sections_are_maps_of_parts_of_the_file() -> None:
    inner = json.loads(plain("AAAA;AACA", "second.ts"))
    nested = {"version": 3, "sections": [{"offset": {"line": 0, "column": 0}, "map": inner}]}
    told = {
        "version": 3,
        "sections": [
            {"offset": {"line": 0, "column": 0}, "map": json.loads(plain("AAAA", "first.ts"))},
            {"offset": {"line": 0, "column": 100}, "map": json.loads(plain("AAAA", "middle.ts"))},
            {"offset": {"line": 4, "column": 10}, "map": nested},
        ],
    }
    found = parse(encoded(told))
    assert found.find(0, 99) == Place("first.ts", 0, 0)
    assert found.find(0, 100) == Place("middle.ts", 0, 0)
    assert found.find(3, 0) is None
    assert found.find(4, 9) is None
    assert found.find(4, 10) == Place("second.ts", 0, 0)
    assert found.find(5, 0) == Place(
        "second.ts", 1, 0
    )  # from its second line on the offset's column is not meant


@pytest.mark.parametrize(
    ("root", "source", "shown"),
    [
        (None, "../../src/index.ts", "src/index.ts"),  # from where the bundler's output lay
        ("src", "index.ts", "src/index.ts"),
        ("/work/", "./index.ts", "/work/index.ts"),
        (None, "webpack://shop/./src/index.ts", "webpack://shop/./src/index.ts"),
        (None, None, "(unknown)"),
        (None, "../..", ".."),
        (None, "a\nat b:1:1", "a\N{REPLACEMENT CHARACTER}at b:1:1"),  # no second line of a trace
        (None, "x" * 2_000, "x" * 512),
    ],
)
def test_sources_are_named_as_their_author_knows_them(
    root: str | None, source: str | None, shown: str
) -> None:
    found = parse(plain("AAAA", source, sourceRoot=root))
    assert found.find(0, 0) == Place(shown, 0, 0)


def deep(levels: int) -> bytes:
    told = json.loads(plain("AAAA"))
    for _ in range(levels):
        told = {"version": 3, "sections": [{"offset": {"line": 0, "column": 0}, "map": told}]}
    return encoded(told)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[" * 100_000,
        encoded({"version": 2, "sources": [], "mappings": ""}),
        encoded({"version": 3, "sources": "a", "mappings": ""}),
        encoded({"version": 3, "sources": ["a"], "mappings": 1}),
        plain("A!AA"),
        plain("AA"),  # neither 1, 4 nor 5 numbers
        plain("AAA"),
        plain("gggggggggA"),  # a number without an end
        plain("g"),  # that breaks off
        plain("AAAAAA"),
        plain("D"),  # column -1
        plain("AADA"),  # line -1
        plain("AACA,ADAA"),  # source -1
        plain("ACAA"),  # source 1 of one
        deep(source_map.MOST_DEPTH + 1),
        encoded({"version": 3, "sections": [{"offset": {"line": -1, "column": 0}, "map": {}}]}),
        encoded({"version": 3, "sections": [{"offset": {"line": 1 << 40, "column": 0}, "map": {}}]}),
        encoded(
            {
                "version": 3,
                "sections": [
                    {"offset": {"line": line, "column": 0}, "map": json.loads(plain("AAAA"))}
                    for line in (3, 1)
                ],
            }
        ),
    ],
)
def test_what_is_no_map_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedMap):
        parse(data)


@pytest.mark.parametrize(
    ("name", "value", "data"),
    [
        ("MOST_LINES", 10, plain(";" * 10)),
        ("MOST_SEGMENTS", 10, plain(",".join(["AAAA"] * 11))),
        ("MOST_SOURCES", 2, plain("", "a", "b", "c")),
        ("MOST_SECTIONS", 0, deep(1)),
    ],
)
def test_what_is_too_much_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: int, data: bytes
) -> None:
    parse(data)
    monkeypatch.setattr(source_map, name, value)
    with pytest.raises(MalformedMap):
        parse(data)


@given(st.binary(max_size=200) | st.text(max_size=80).map(plain))
def test_whatever_it_is_it_is_a_map_or_refused(data: bytes) -> None:
    try:
        found = parse(data)
    except MalformedMap:
        return
    for line in range(3):
        found.find(line, 7)


@pytest.mark.parametrize(
    "told",
    [
        {"sources": ["../" * 1_000_000 + "a.ts"]},
        {"sources": ["a.ts"] * 10_000, "sourceRoot": "a/../" * 400_000},
        {"sources": ["../" * 200 + "a.ts"] * 10_000},
    ],
)
def test_paths_made_to_take_long_do_not(told: dict[str, Any]) -> None:
    data = encoded({"version": 3, "mappings": "AAAA", **told})
    began = time.process_time()
    parse(data)
    assert time.process_time() - began < 2.0
