"""What of an engine's instance can change is its memory and its stack's pointer: its snapshot rests on that, and so
does its being used again (docs/decisions/0020).
"""

from __future__ import annotations

from typing import Final

from tests.support.guests import wat
from tests.support.javascript_engine import built_engine
from tests.support.wasm_code import instructions

#: table.set; memory.init, data.drop, table.init, elem.drop, table.copy, table.grow, table.fill.
CHANGING: Final = {(0x26, 0), *((0xFC, number) for number in (8, 9, 12, 13, 14, 15, 17))}


def test_no_instruction_of_the_engine_changes_its_table_or_drops_a_segment() -> None:
    found = instructions(built_engine().wasm)
    assert len(found) > 100
    assert found.isdisjoint(CHANGING)


def test_such_an_instruction_is_found() -> None:
    module = wat("""
      (module (memory 1) (table 1 funcref) (data $d "x") (elem $e func $f) (func $f (param i32) (result i32)
        (if (i32.load offset=200 (local.get 0)) (then
          (table.set (i32.const 0) (ref.func $f))
          (memory.init $d (i32.const 0) (i32.const 0) (i32.const 1)) (data.drop $d)
          (table.init $e (i32.const 0) (i32.const 0) (i32.const 1)) (elem.drop $e)
          (table.copy (i32.const 0) (i32.const 0) (i32.const 1))
          (drop (table.grow (ref.null func) (i32.const 1)))
          (table.fill (i32.const 0) (ref.null func) (i32.const 1))))
        (block (br_table 0 0 (i32.const 1)))
        (i32.add (i32.trunc_sat_f64_s (f64.const 1)) (i8x16.extract_lane_u 3 (v128.const i64x2 1 2)))))""")
    assert instructions(module) >= CHANGING
