"""A module that begins with what its memory held: the same code, other data, and nothing that memory does not hold."""

from __future__ import annotations

import pytest

from javascript.engine.snapshot import NotSnapshottable, snapshot
from tests.support.guests import wat

PAGE = 65_536
EXPORTS = ("memory", "read")


def module(extra: str = "") -> bytes:
    return wat(
        f"""(module (memory (export "memory") 1) (global (mut i32) (i32.const 1024)) {extra}
          (data (i32.const 8) "old")
          (func (export "read") (param i32) (result i32) (i32.load8_u (local.get 0)))
          (func (export "build") nop))"""
    )


def test_memory_becomes_the_data_and_exports_are_those_that_are_named() -> None:
    from runtime.wasm_sections import read_sections

    memory = bytearray(2 * PAGE)
    memory[5] = 7
    memory[PAGE + 9_000] = 9
    made = snapshot(module(), bytes(memory), EXPORTS)
    sections = read_sections(made, max_tables=1)
    assert set(sections.exports) == set(EXPORTS)
    assert sections.memories[0].minimum == 2
    assert b"old" not in made
    assert len(made) < 300  # zeros take no room


def test_the_start_function_is_run_no_more() -> None:
    from runtime.wasm_sections import read_sections

    made = snapshot(module("(func $s nop) (start $s)"), bytes(PAGE), EXPORTS)
    assert read_sections(made, max_tables=1).start is None


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"no module", "no core module"),
        (module("(global (mut i32) (i32.const 0))"), "2 mutable globals"),
        (wat('(module (memory (export "memory") 1) (func (export "read") nop))'), None),
    ],
)
def test_what_has_other_state_is_refused(data: bytes, why: str | None) -> None:
    if why is None:
        assert snapshot(data, bytes(PAGE), EXPORTS)
        return
    with pytest.raises(NotSnapshottable, match=why):
        snapshot(data, bytes(PAGE), EXPORTS)


def test_an_export_that_is_missing_is_told() -> None:
    with pytest.raises(NotSnapshottable, match="does not export other"):
        snapshot(module(), bytes(PAGE), (*EXPORTS, "other"))
