"""An uploaded JavaScript worker is stored as one object: the same modules make the same bytes, and come back."""

from __future__ import annotations

import hashlib
import tracemalloc

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.artifact import read_artifact
from runtime.javascript import bundle
from runtime.javascript.bundle import MAGIC, Module, ModuleType, decode, encode, make
from runtime.module_problems import InvalidModule, ModuleProblem

names = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), min_size=1, max_size=20).filter(
    str.isprintable
)
modules = st.lists(
    st.builds(Module, names, st.sampled_from(ModuleType), st.binary(max_size=50)),
    max_size=5,
    unique_by=lambda module: module.name,
)
ESM = Module("worker.js", ModuleType.ESM, b"export default {}")


@given(modules, st.lists(names, max_size=3), st.randoms(use_true_random=False))
def test_same_modules_in_any_order_are_the_same_bytes_and_come_back(
    others: list[Module], flags: list[str], chance: object
) -> None:
    given = [ESM, *(module for module in others if module.name != ESM.name)]
    made = make("worker.js", given, flags)
    chance.shuffle(given)  # type: ignore[attr-defined]
    assert encode(make("worker.js", given, flags)) == encode(made)
    assert decode(encode(made)) == made


def test_digest_is_of_the_bytes() -> None:
    data = encode(make("worker.js", [ESM]))
    artifact = read_artifact(data)
    assert (artifact.kind, artifact.digest) == ("javascript", hashlib.sha256(data).hexdigest())
    assert artifact.handlers == frozenset()


def test_source_maps_are_kept_and_not_run() -> None:
    made = make("worker.js", [ESM, Module("worker.js.map", ModuleType.SOURCE_MAP, b"{}")])
    assert [module.name for module in made.modules] == ["worker.js", "worker.js.map"]
    assert made.code == (ESM,)


@pytest.mark.parametrize(
    ("main", "sent", "code", "words"),
    [
        ("x.js", [ESM], ModuleProblem.MALFORMED, "no module is called 'x.js'; there are 'worker.js'"),
        ("x.js", [], ModuleProblem.MALFORMED, "there are none"),
        ("worker.js", [ESM, ESM], ModuleProblem.MALFORMED, "two modules are called 'worker.js'"),
        ("a", [Module("a", ModuleType.TEXT, b"")], ModuleProblem.MALFORMED, "a worker begins with a script"),
        (
            "a",
            [Module("a", ModuleType.SOURCE_MAP, b"")],
            ModuleProblem.MALFORMED,
            "a worker begins with a script",
        ),
        ("worker.js", [ESM, Module("", ModuleType.ESM, b"")], ModuleProblem.MALFORMED, "the module name ''"),
        ("worker.js", [ESM, Module("a\nb", ModuleType.ESM, b"")], ModuleProblem.MALFORMED, "printable"),
        ("worker.js", [ESM, Module("n" * 513, ModuleType.ESM, b"")], ModuleProblem.MALFORMED, "1 to 512"),
        (
            "worker.js",
            [ESM, *(Module(f"m{number}", ModuleType.ESM, b"") for number in range(500))],
            ModuleProblem.TOO_MANY,
            "501 modules",
        ),
        (
            "worker.js",
            [ESM, Module("d", ModuleType.DATA, bytes(bundle.MOST_MODULE_BYTES - 16))],
            ModuleProblem.TOO_LARGE,
            "the modules have 16,777,217 bytes",
        ),
        (
            "worker.js",
            [ESM, Module("d", ModuleType.SOURCE_MAP, bytes(bundle.MOST_MAP_BYTES + 1))],
            ModuleProblem.TOO_LARGE,
            "the source maps have",
        ),
    ],
)
def test_what_can_not_be_a_worker_is_refused_with_the_reason(
    main: str, sent: list[Module], code: ModuleProblem, words: str
) -> None:
    with pytest.raises(InvalidModule) as caught:
        make(main, sent)
    assert caught.value.code is code
    assert words in caught.value.message


def test_the_most_that_is_allowed_is_allowed() -> None:
    code = Module("d", ModuleType.DATA, bytes(bundle.MOST_MODULE_BYTES - len(ESM.data)))
    maps = Module("m", ModuleType.SOURCE_MAP, bytes(bundle.MOST_MAP_BYTES))
    assert len(make("worker.js", [ESM, code, maps]).modules) == 3


@pytest.mark.parametrize(
    "data",
    [
        b"",
        MAGIC,
        MAGIC + b"\xc1",
        MAGIC + msgpack.packb(1),
        MAGIC + msgpack.packb(["worker.js", [["worker.js", "esm", "text"]], []]),
        MAGIC + msgpack.packb(["worker.js", [["worker.js", "php", b""]], []]),
        MAGIC + msgpack.packb(["worker.js", [[1, "esm", b""]], []]),
        MAGIC + msgpack.packb(["worker.js", [["worker.js", "esm", b""]], [7]]),
        MAGIC + msgpack.packb(["other.js", [["worker.js", "esm", b""]], []]),
        MAGIC + msgpack.packb(["worker.js", [["worker.js", "esm", b""]], {}]),
        MAGIC + b"\x90" * 1_000,
        encode(make("worker.js", [ESM])) + b"x",
    ],
)
def test_damaged_bundle_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidModule) as caught:
        decode(data)
    assert caught.value.code is ModuleProblem.MALFORMED


@pytest.mark.parametrize(
    "filling",
    [
        pytest.param(b"\xdd\x00\x20\x00\x00" + b"\x80" * (2 << 20), id="maps"),
        pytest.param(b"\xdd\x00\x20\x00\x00" + b"\xc0" * (2 << 20), id="one list"),
        pytest.param(b"\x94" + (b"\xdc\x01\xf0" + b"\x90" * 496) * 4_000, id="many lists"),
    ],
)
def test_few_bytes_do_not_become_much_memory(filling: bytes) -> None:
    """Who may upload wasm may send these bytes as such."""
    tracemalloc.start()
    try:
        with pytest.raises(InvalidModule):
            read_artifact(MAGIC + filling)
        assert tracemalloc.get_traced_memory()[1] < 4 * len(filling)
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=100))
def test_any_bytes_behind_the_magic_are_a_bundle_or_refused(data: bytes) -> None:
    try:
        decode(MAGIC + data)
    except InvalidModule:
        pass
