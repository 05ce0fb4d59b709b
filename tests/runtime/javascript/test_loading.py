"""A bundle becomes a delta in the sandbox alone; whatever its modules do there ends in an error with a reason.

With a toy in the engine's place (tests.support.toy_engine): what is the host's is tested here.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from unittest.mock import ANY

import pytest

from runtime.capi.failures import CapiError
from runtime.capi.guest import AbiViolation, live_guests
from runtime.capi.guest_pages import PageMap
from runtime.javascript import loading
from runtime.javascript.bundle import Bundle, Module, ModuleType, make
from runtime.javascript.delta import apply, parse
from runtime.javascript.loading import JavaScript, LoadFailed, read_error
from tests.support.guests import engine, sample
from tests.support.toy_engine import AT, GROWN_AT, WORD, toy_engine

MIB = 1 << 20


@functools.cache
def toy() -> JavaScript:
    module = engine().compile(toy_engine())
    try:
        return JavaScript(engine(), module.image())
    finally:
        module.close()


def worker(letter: str) -> Bundle:
    return make("worker.js", [Module("worker.js", ModuleType.ESM, letter.encode())])


def failed(letter: str, memory_bytes: int = 64 * MIB) -> str:
    with pytest.raises(LoadFailed) as caught:
        toy().load(worker(letter), b"seed", memory_bytes)
    assert live_guests() == 0
    return str(caught.value)


def test_loaded_worker_is_a_delta_with_its_handlers() -> None:
    loaded = toy().load(worker("a"), b"seed", 64 * MIB)
    assert loaded.handlers == {"fetch"}
    assert loaded.entrypoints == ("Api",)
    assert [(run.at, run.size) for run in parse(loaded.delta).runs] == [(AT, 8), (GROWN_AT, 8)]
    memory = apply(bytes(2 * 65_536), loaded.delta)
    assert memory[AT : AT + 8] == memory[GROWN_AT : GROWN_AT + 8] == WORD
    assert 0 <= loaded.startup_us < 1_000_000
    assert live_guests() == 0


def test_same_bundle_loaded_twice_is_the_same_delta() -> None:
    first, second = (toy().load(worker("a"), b"seed", 64 * MIB).delta for _ in range(2))
    assert first == second


def test_delta_is_the_same_where_the_kernel_tells_which_pages_were_written() -> None:
    pages = PageMap()
    module = engine().compile(toy_engine())
    try:
        told = JavaScript(engine(), module.image(), pages)
        assert told.load(worker("a"), b"seed", 64 * MIB) == replace(
            toy().load(worker("a"), b"seed", 64 * MIB), startup_us=ANY
        )
    finally:
        module.close()
        pages.close()


def test_what_the_top_level_logs_is_no_failure() -> None:
    loaded = toy().load(worker("L"), b"seed", 64 * MIB)
    assert loaded.handlers == {"fetch"}
    assert len(loaded.lines) == 1


@pytest.mark.parametrize(
    ("letter", "words"),
    [
        ("e", "Uncaught SyntaxError: unexpected token at worker.js:3:5"),
        ("E", "Uncaught TypeError: x is not a function at worker.js:7"),
        ("t", "compiling failed: "),
        ("T", "the top level failed: "),
        ("R", "the top level exhausted the call stack"),
        ("C", "the top level called the host"),
        ("N", "the worker has no handler"),
        ("G", "gave no answer"),
        ("O", "answered 4294967295 bytes"),
        ("B", "more than 16 MiB of changed memory"),
    ],
)
def test_worker_that_can_not_be_loaded_is_refused_with_the_reason(letter: str, words: str) -> None:
    assert words in failed(letter)


@pytest.mark.parametrize(("letter", "words"), [("s", "compiling used"), ("S", "the top level used")])
def test_cpu_time_of_each_step_is_limited(letter: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "COMPILE_CPU_MS", 40)
    monkeypatch.setattr(loading, "LOAD_CPU_MS", 40)
    assert f"{words} more than 40 ms of CPU time" in failed(letter)


def test_memory_is_that_of_a_worker() -> None:
    assert "the top level failed" in failed("M", memory_bytes=32 * MIB)


def test_a_module_that_is_no_javascript_engine_is_refused() -> None:
    module = engine().compile(sample("hello"))
    try:
        with pytest.raises(AbiViolation, match="js_load"):
            JavaScript(engine(), module.image())
    finally:
        module.close()
    with pytest.raises(CapiError):
        JavaScript(engine(), b"no image")
    assert live_guests() == 0


@pytest.mark.parametrize(
    "error",
    [None, 7, [], {}, {"line": "x", "column": -1, "kind": None}, {"message": "m" * 9999, "line": 1 << 40}],
)
def test_error_of_any_shape_is_told_within_bounds(error: object) -> None:
    told = read_error(error)
    assert told.kind == "Error"
    assert (told.line, told.column) == (0, 0)
    assert len(str(told)) < 2_100
