"""The hostile modules: what each does, and how that must end. One row a line, as far as it goes."""

# ruff: noqa: E501 - a guest's code is one string

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from runtime.module_problems import ModuleProblem as P
from tests.support.guests import sample, wat
from tests.support.hostile_modules import (
    ANSWER,
    CALL,
    LOG,
    TAKE,
    binary,
    leb,
    name_section,
    section,
    vector,
    wasi,
    worker,
)

OK, EXCEPTION, CPU, MEMORY = "ok", "exception", "exceededCpu", "exceededMemory"
#: Enough for what should be answered, and soon over for what should not.
LIMITS: Final = {"cpu_ms": 40}
MIB: Final = 1 << 20


class Row(NamedTuple):
    name: str
    make: Callable[[], bytes]
    outcome: str
    words: str = ""
    limits: dict[str, int] = LIMITS


def does(
    name: str,
    outcome: str,
    fetch: str = ANSWER,
    words: str = "",
    limits: dict[str, int] = LIMITS,
    **more: str,
) -> Row:
    return Row(name, lambda: worker(fetch, **more), outcome, words, limits)


FOREVER = "(loop $l (br $l))"
SPIN = f"{FOREVER} {ANSWER}"
INITIALIZE = '(func (export "_initialize") {})'
FD_WRITE = wasi("fd_write", "i32 i32 i32 i32")
RANDOM = wasi("random_get", "i32 i32")
EXIT = wasi("proc_exit", "i32", "")
#: `call` with an empty map is answered at once, with {done: [], pending: 0}: 15 bytes.
EMPTY_CALL = (
    "(i32.store8 (i32.const 64) (i32.const 0x80)) (local.set $i (call $call (i32.const 64) (i32.const 1)))"
)
TABLE = "(table $t 10 funcref)"
GROW_ALL = "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))"


def looped(step: str) -> str:
    return f"(loop $l {step} (br $l)) {ANSWER}"


LOOPS = [
    does("loop in fetch", CPU, SPIN),
    does("loop in alloc", CPU, alloc=f"{FOREVER} (i32.const 0)"),
    does("loop in _initialize", CPU, more=INITIALIZE.format(FOREVER)),
    does("loop in the start function", CPU, more=f"(func $s {FOREVER}) (start $s)"),
    does("tail call of itself", CPU, f"(call $f) {ANSWER}", more="(func $f (return_call $f))"),
    does("tail calls through a table", CPU, f"(call $f) {ANSWER}", more="(table 1 funcref) (elem (i32.const 0) $f) (func $f (return_call_indirect (i32.const 0)))"),
    does("tail calls with more arguments each way", CPU, f"(call $f) {ANSWER}", more="(func $f (return_call $g (v128.const i64x2 1 2) (i64.const 1) (i32.const 2)))" "(func $g (param v128 i64 i32) (return_call $f))"),
    does("loop of vectors", CPU, looped("(local.set $v (i64x2.mul (local.get $v) (local.get $v)))")),
    does("memory.grow by nothing", CPU, looped("(drop (memory.grow (i32.const 0)))")),
    does("memory.grow that fails", CPU, looped("(drop (memory.grow (i32.const 65535)))")),
    does("memory.fill", CPU, looped("(memory.fill (i32.const 0) (i32.const 1) (i32.const 131072))")),
    does("memory.copy onto itself", CPU, looped("(memory.copy (i32.const 1) (i32.const 0) (i32.const 131071))")),
    does("table.copy onto itself", CPU, looped("(table.copy (i32.const 1) (i32.const 0) (i32.const 99999))"), more="(table 100000 funcref)"),
    does("table.fill", CPU, looped("(table.fill (i32.const 0) (ref.null func) (i32.const 100000))"), more="(table 100000 funcref)"),
    does("table.grow by nothing", CPU, looped("(drop (table.grow $t (ref.null func) (i32.const 0)))"), more=TABLE),
    does("log", CPU, looped("(call $log (i32.const 1) (i32.const 0) (i32.const 9))"), imports=LOG),
    does("empty calls", CPU, looped(EMPTY_CALL), imports=CALL),
    does("take of nothing", CPU, looped("(drop (call $take (i32.const 0) (i32.const 0) (i32.const 9)))"), imports=TAKE),
    does("random_get of 64 KiB", CPU, looped("(drop (call $random_get (i32.const 0) (i32.const 65536)))"), imports=RANDOM),
    does("fd_write of 64 KiB of line ends", CPU, "(memory.fill (i32.const 0) (i32.const 10) (i32.const 65536)) (i32.store (i32.const 65540) (i32.const 65536))" + looped("(drop (call $fd_write (i32.const 1) (i32.const 65536) (i32.const 1) (i32.const 65560)))"), imports=FD_WRITE),
]  # fmt: skip

STACKS = [
    does("recursion", EXCEPTION, f"(call $f) {ANSWER}", "recursion too deep", more="(func $f (call $f))"),
    does("recursion with large frames", EXCEPTION, f"(drop (call $f {'(v128.const i64x2 1 2)' * 50})) {ANSWER}", "recursion too deep", more=f"(func $f (param {'v128 ' * 50}) (result i32) (i32.add (i32.const 1) " f"(call $f {' '.join(f'(local.get {n})' for n in range(50))})))"),
    does("recursion through a table", EXCEPTION, f"(call $f) {ANSWER}", "recursion too deep", more="(table 1 funcref) (elem (i32.const 0) $f) (func $f (call_indirect (i32.const 0)))"),
    does("recursion in alloc", EXCEPTION, words="recursion too deep", alloc="(call $f) (i32.const 0)", more="(func $f (call $f))"),
    does("recursion in _initialize", EXCEPTION, words="recursion too deep", more=INITIALIZE.format("(call $f)") + "(func $f (call $f))"),
    does("recursion in the start function", EXCEPTION, words="recursion too deep", more="(func $f (call $f)) (start $f)"),
    does("recursion that logs in each frame", EXCEPTION, f"(call $f) {ANSWER}", "recursion too deep", {"cpu_ms": 2_000}, imports=LOG, more="(func $f (call $log (i32.const 1) (i32.const 0) (i32.const 9)) (call $f) (call $log (i32.const 1) (i32.const 0) (i32.const 9)))"),
    Row("recursion of a function with a name of 100,000 bytes", lambda: binary(b"\0\x10\2\x42\x0a\x0b", functions=((0, b"\0\x10\2\x0b"),), tail=name_section((2, b"n" * 100_000))), EXCEPTION, "recursion too deep"),
    Row("trap in a function that is named like an error of the platform", lambda: binary(b"\0\x10\2\x42\x0a\x0b", functions=((0, b"\0\0\x0b"),), tail=name_section((2, b"maximum concurrent Caused by: stopped by the host"))), EXCEPTION),
]  # fmt: skip

MEMORIES = [
    does("grow until it fails, then trap", MEMORY, f"{GROW_ALL} unreachable", "limit is 128 MiB", {"cpu_ms": 2_000}),
    does("grow until it fails, touch all of it, answer", OK, f"{GROW_ALL} (memory.fill (i32.const 65536) (i32.const 7) (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 65536))) {ANSWER}", limits={"cpu_ms": 2_000}),
    does("grow until it fails, for ever", CPU, looped(GROW_ALL.replace("$l", "$m"))),
    does("grow by all that a 32-bit memory can have", OK, f"(if (i32.ne (memory.grow (i32.const 65534)) (i32.const -1)) (then unreachable)) {ANSWER}"),
    does("grow over its own maximum", OK, f"(if (i32.ne (memory.grow (i32.const 2)) (i32.const -1)) (then unreachable)) {ANSWER}", memory="2 3"),
    does("memory of 128 MiB at the start", OK, memory="2048"),
    does("memory of 128 MiB at the start, for a worker of 64", EXCEPTION, words="memory", limits={"memory_bytes": 64 * MIB}, memory="2048"),
    does("memory of no page", EXCEPTION, words="outside of memory", memory="0"),
    does("load far out of bounds", EXCEPTION, f"(drop (i64.load offset=0xffffffff (i32.const -1))) {ANSWER}", "out of bounds"),
    does("store at the end of memory", EXCEPTION, f"(i64.store (i32.const 131065) (i64.const 1)) {ANSWER}", "out of bounds"),
    does("vector load out of bounds", EXCEPTION, f"(drop (v128.load (i32.const 131060))) {ANSWER}", "out of bounds"),
    does("memory.fill out of bounds", EXCEPTION, f"(memory.fill (i32.const 1) (i32.const 1) (i32.const -1)) {ANSWER}", "out of bounds"),
    does("memory.copy out of bounds", EXCEPTION, f"(memory.copy (i32.const -1) (i32.const 0) (i32.const 2)) {ANSWER}", "out of bounds"),
    does("memory.init out of its segment", EXCEPTION, f"(memory.init $d (i32.const 0) (i32.const 2) (i32.const 2)) {ANSWER}", "out of bounds", more='(data $d "abc")'),
    does("memory.init of a dropped segment", EXCEPTION, f"(data.drop $d) (memory.init $d (i32.const 0) (i32.const 0) (i32.const 1)) {ANSWER}", "out of bounds", more='(data $d "abc")'),
]  # fmt: skip

TABLES = [
    does("table.grow until it fails, then trap", EXCEPTION, "(loop $l (br_if $l (i32.ne (table.grow $t (ref.null func) (i32.const 999)) (i32.const -1)))) unreachable", "unreachable", more=TABLE),
    does("table.grow by 2^32 - 1", OK, f"(if (i32.ne (table.grow $t (ref.null func) (i32.const -1)) (i32.const -1)) (then unreachable)) {ANSWER}", more=TABLE),
    does("table.grow to one over the bound", OK, f"(if (i32.ne (table.grow $t (ref.null func) (i32.const 99991)) (i32.const -1)) (then unreachable)) {ANSWER}", more=TABLE),
    does("table.grow to the bound", OK, f"(if (i32.eq (table.grow $t (ref.func $alloc) (i32.const 99990)) (i32.const -1)) (then unreachable)) {ANSWER}", more=TABLE + "(func $alloc) (elem declare func $alloc)"),
    does("table of 100,000 at the start", OK, more="(table 100000 funcref)"),
    does("table.get out of bounds", EXCEPTION, f"(drop (table.get $t (i32.const -1))) {ANSWER}", "out of bounds", more=TABLE),
    does("table.set out of bounds", EXCEPTION, f"(table.set $t (i32.const 10) (ref.null func)) {ANSWER}", "out of bounds", more=TABLE),
    does("table.fill out of bounds", EXCEPTION, f"(table.fill $t (i32.const 1) (ref.null func) (i32.const -1)) {ANSWER}", "out of bounds", more=TABLE),
    does("table.copy out of bounds", EXCEPTION, f"(table.copy (i32.const 5) (i32.const 0) (i32.const 6)) {ANSWER}", "out of bounds", more=TABLE),
    does("table.init of a dropped segment", EXCEPTION, f"(elem.drop $e) (table.init $t $e (i32.const 0) (i32.const 0) (i32.const 1)) {ANSWER}", "out of bounds", more=TABLE + "(func $f) (elem $e func $f)"),
    does("call_indirect of null", EXCEPTION, f"(call_indirect (i32.const 0)) {ANSWER}", "uninitialized element", more=TABLE),
    does("call_indirect out of bounds", EXCEPTION, f"(call_indirect (i32.const -1)) {ANSWER}", "undefined element", more=TABLE),
    does("call_indirect of another type", EXCEPTION, f"(call_indirect (param i32) (i32.const 1) (i32.const 0)) {ANSWER}", "type mismatch", more=TABLE + "(func $f) (elem (i32.const 0) $f)"),
    Row("passive segment of 500,000 elements", lambda: binary(functions=((0, b"\0\x0b"),), element=vector(b"\1\0" + leb(500_000) + b"\2" * 500_000)), OK),
    does("active segments that cover 100,000 elements", OK, more=f"(table 100000 funcref) (func $f) (elem (i32.const 0) {'$f ' * 100_000})"),
    Row("segments that fill a table of 100,000 elements 5 times", lambda: binary(functions=((0, b"\0\x0b"),), table=vector(b"\x70\0" + leb(100_000)), element=vector(*[b"\0\x41\0\x0b" + leb(100_000) + b"\2" * 100_000] * 5)), OK),
]  # fmt: skip

POINTERS = [
    does("call at the end of memory", EXCEPTION, f"(drop (call $call (i32.const 131072) (i32.const 1))) {ANSWER}", "outside of memory", imports=CALL),
    does("call of a negative pointer", EXCEPTION, f"(drop (call $call (i32.const -1) (i32.const 9))) {ANSWER}", "outside of memory", imports=CALL),
    does("call of a negative length", EXCEPTION, f"(drop (call $call (i32.const 0) (i32.const -1))) {ANSWER}", "at most 1048576", imports=CALL),
    does("call of no bytes", EXCEPTION, f"(drop (call $call (i32.const 0) (i32.const 0))) {ANSWER}", imports=CALL),
    does("take without a reply", OK, f"(if (call $take (i32.const 0) (i32.const 0) (i32.const 99)) (then unreachable)) {ANSWER}", imports=TAKE),
    does("take without a reply, at a negative pointer", EXCEPTION, f"(drop (call $take (i32.const -1) (i32.const 0) (i32.const 0))) {ANSWER}", "outside of memory", imports=TAKE),
    does("take of a negative length", OK, f"{EMPTY_CALL} (if (i32.ne (call $take (i32.const 128) (i32.const 0) (i32.const -1)) (local.get $i)) (then unreachable)) {ANSWER}", imports=CALL + TAKE),
    does("take of a negative offset", OK, f"{EMPTY_CALL} (if (call $take (i32.const 128) (i32.const -1) (i32.const 5)) (then unreachable)) {ANSWER}", imports=CALL + TAKE),
    does("take past the end", OK, f"{EMPTY_CALL} (if (call $take (i32.const 128) (local.get $i) (i32.const 5)) (then unreachable)) {ANSWER}", imports=CALL + TAKE),
    does("take across the end", OK, f"{EMPTY_CALL} (if (i32.ne (call $take (i32.const 128) (i32.const 1) (i32.const 500)) (i32.sub (local.get $i) (i32.const 1))) (then unreachable)) {ANSWER}", imports=CALL + TAKE),
    does("take to where memory ends", EXCEPTION, f"{EMPTY_CALL} (drop (call $take (i32.const 131071) (i32.const 0) (i32.const 5))) {ANSWER}", "outside of memory", imports=CALL + TAKE),
    does("take onto the call that asked", OK, f"{EMPTY_CALL} (drop (call $take (i32.const 64) (i32.const 0) (local.get $i))) {ANSWER}", imports=CALL + TAKE),
    does("log of a length that is cut before memory ends", OK, f"(call $log (i32.const -1) (i32.const 0) (i32.const -1)) {ANSWER}", imports=LOG),
    does("log of a negative pointer", EXCEPTION, f"(call $log (i32.const 0) (i32.const -1) (i32.const 2)) {ANSWER}", "outside of memory", imports=LOG),
    does("log past the end", EXCEPTION, f"(call $log (i32.const 0) (i32.const 131070) (i32.const 3)) {ANSWER}", "outside of memory", imports=LOG),
    does("fd_write whose vectors are outside", EXCEPTION, f"(drop (call $fd_write (i32.const 1) (i32.const 131071) (i32.const 1) (i32.const 0))) {ANSWER}", "outside of memory", imports=FD_WRITE),
    does("fd_write of a negative number of vectors", OK, f"(if (i32.ne (call $fd_write (i32.const 1) (i32.const 0) (i32.const -1) (i32.const 0)) (i32.const 28)) (then unreachable)) {ANSWER}", imports=FD_WRITE),
    does("fd_write of a vector outside", EXCEPTION, f"(i32.store (i32.const 64) (i32.const -1)) (i32.store (i32.const 68) (i32.const -1)) (drop (call $fd_write (i32.const 1) (i32.const 64) (i32.const 1) (i32.const 80))) {ANSWER}", "outside of memory", imports=FD_WRITE),
    does("fd_write of a vector of negative length is short", OK, f"(i32.store (i32.const 68) (i32.const -1)) (drop (call $fd_write (i32.const 1) (i32.const 64) (i32.const 1) (i32.const 80))) (if (i32.ne (i32.load (i32.const 80)) (i32.const 65536)) (then unreachable)) {ANSWER}", imports=FD_WRITE),
    does("fd_write that counts into its own vectors", OK, f"(i32.store (i32.const 68) (i32.const 9)) (drop (call $fd_write (i32.const 1) (i32.const 64) (i32.const 1) (i32.const 64))) {ANSWER}", imports=FD_WRITE),
    does("fd_write whose count goes outside", EXCEPTION, f"(drop (call $fd_write (i32.const 1) (i32.const 64) (i32.const 1) (i32.const 131069))) {ANSWER}", "outside of memory", imports=FD_WRITE),
    does("random_get past the end", OK, f"(if (i32.ne (call $random_get (i32.const 131071) (i32.const 2)) (i32.const 21)) (then unreachable)) {ANSWER}", imports=RANDOM),
    does("random_get of a negative length", OK, f"(if (i32.ne (call $random_get (i32.const 0) (i32.const -1)) (i32.const 28)) (then unreachable)) {ANSWER}", imports=RANDOM),
    does("args_get onto itself", OK, f"(drop (call $args_get (i32.const 64) (i32.const 64))) {ANSWER}", imports=wasi("args_get", "i32 i32")),
    does("environ_get at a negative pointer of no variables", OK, f"(drop (call $environ_get (i32.const -1) (i32.const -1))) {ANSWER}", imports=wasi("environ_get", "i32 i32")),
    does("clock_time_get to a negative pointer", EXCEPTION, f"(drop (call $clock_time_get (i32.const 0) (i64.const -1) (i32.const -1))) {ANSWER}", "outside of memory", imports=wasi("clock_time_get", "i32 i64 i32")),
    does("proc_exit in fetch", EXCEPTION, f"(call $proc_exit (i32.const -1)) {ANSWER}", "proc_exit(4294967295)", imports=EXIT),
    does("proc_exit in alloc", EXCEPTION, words="proc_exit(0)", alloc="(call $proc_exit (i32.const 0)) (i32.const 0)", imports=EXIT),
    does("proc_exit in _initialize", EXCEPTION, words="proc_exit(0)", more=INITIALIZE.format("(call $proc_exit (i32.const 0))"), imports=EXIT),
    does("proc_exit in the start function", EXCEPTION, words="proc_exit(0)", more="(func $s (call $proc_exit (i32.const 0))) (start $s)", imports=EXIT),
    does("call in the start function", EXCEPTION, words="start function", more="(func $s (drop (call $call (i32.const 0) (i32.const 1)))) (start $s)", imports=CALL),
    does("call in alloc", OK, alloc=f"{EMPTY_CALL} (i32.const 1024)", imports=CALL),
    does("call in _initialize", OK, more=INITIALIZE.format("(i32.store8 (i32.const 64) (i32.const 0x80)) (drop (call $call (i32.const 64) (i32.const 1)))"), imports=CALL),
    does("an answer at a negative pointer of a negative length", EXCEPTION, "(i64.const -1)", "at most"),
    does("an answer of no bytes outside of memory", EXCEPTION, "(i64.const 0xffffffff00000000)", "outside of memory"),
    does("an answer that goes past the end", EXCEPTION, "(i64.const 0x0001ffff00000002)", "outside of memory"),
    does("an answer of 128 KiB of zeros", EXCEPTION, "(i64.const 131072)"),
]  # fmt: skip

TRAPS = [
    does("unreachable", EXCEPTION, "unreachable", "unreachable"),
    does("division by zero", EXCEPTION, f"(drop (i32.div_s (i32.const 1) (local.get $i))) {ANSWER}", "divide by zero"),
    does("remainder by zero", EXCEPTION, f"(drop (i64.rem_u (i64.const 1) (local.get $n))) {ANSWER}", "divide by zero"),
    does("overflow of a division", EXCEPTION, f"(drop (i32.div_s (i32.const 0x80000000) (i32.sub (local.get $i) (i32.const 1)))) {ANSWER}", "integer overflow"),
    does("conversion of a NaN", EXCEPTION, f"(drop (i32.trunc_f32_s (f32.const nan))) {ANSWER}", "invalid conversion"),
]  # fmt: skip


def nested(opening: bytes, depth: int) -> bytes:
    """A body of `depth` blocks in one another."""
    return b"\0" + opening * depth + b"\x0b" * depth + b"\x42\x0a\x0b"


def targets(count: int) -> bytes:
    return b"\0\2\x40\x41\0\x0e" + leb(count) + b"\0" * (count + 1) + b"\x0b\x42\x0a\x0b"


def of_locals(count: int) -> bytes:
    return vector(leb(count) + b"\x7e") + b"\x42\x0a\x0b"


def segments(count: int) -> bytes:
    one = b"\0\x41\x80\x08\x0b\1x"
    return leb(count + 1) + b"\0\x41\0\x0b\x0a\x81\xa6status\xcc\xc8"[:15] + one * count


def long_type(number: int) -> bytes:
    return (
        b"\x60" + leb(99) + bytes([0x7F, 0x7E]) * 49 + bytes([0x7D]) + leb(0) if number % 2 else b"\x60\0\0"
    )


SIZES = [
    Row("10,000 blocks in one another", lambda: binary(nested(b"\2\x40", 10_000)), OK),
    Row("10,000 loops in one another", lambda: binary(nested(b"\3\x40", 10_000)), OK),
    Row("10,000 ifs in one another", lambda: binary(nested(b"\x41\0\4\x40", 10_000)), OK),
    Row("a branch table of 65,519 targets", lambda: binary(targets(65_519)), OK),
    Row("a branch table of 100,000 targets", lambda: binary(targets(100_000)), "invalid", "`br_table` has 100000 targets"),
    Row("a function of 49,998 locals and two parameters", lambda: binary(of_locals(49_998)), OK),
    Row("a function of 49,999 locals and two parameters", lambda: binary(of_locals(49_999)), "invalid", "too many locals"),
    Row("a function of 2^32 - 1 locals", lambda: binary(of_locals(2**32 - 1)), "invalid", "too many locals"),
    Row("9,997 more types", lambda: binary(types=tuple(b"\x60" + leb(n % 99) + b"\x7f" * (n % 99) + leb(n // 99) + b"\x7e" * (n // 99) for n in range(9_997))), OK),
    Row("1,000 imports", lambda: worker(imports="".join(TAKE.replace("$take", f"$t{n}") for n in range(1_000))), OK),
    Row("2,000 functions that call each other", lambda: binary(functions=tuple((0, b"\0\x10" + leb((n + 1) % 2_000 + 2) + b"\x0b") for n in range(2_000))), OK),
    Row("10,000 exports", lambda: worker(more="".join(f'(export "e{n}" (func 0))' for n in range(9_997))), OK),
    Row("10,000 globals", lambda: worker(more="(global (mut v128) (v128.const i64x2 1 2))" * 10_000), OK),
    Row("90,000 data segments", lambda: binary(data=segments(90_000)), OK),
    Row("200,000 data segments", lambda: binary(data=segments(200_000)), "invalid", "data segments"),
    Row("a data segment of 16 MiB", lambda: binary(memory=b"\0" + leb(300), data=vector(b"\0\x41\0\x0b\x0a\x81\xa6status\xcc\xc8"[:15], b"\0\x41\x80\x80\4\x0b" + leb(16 * MIB) + b"x" * (16 * MIB))), OK),
    Row("a passive data segment of 16 MiB", lambda: binary(data_count=b"\2", data=vector(b"\0\x41\0\x0b\x0a\x81\xa6status\xcc\xc8"[:15], b"\1" + leb(16 * MIB) + b"x" * (16 * MIB))), OK),
    Row("data at both ends of 128 MiB", lambda: binary(memory=b"\0" + leb(2048), data=vector(b"\0\x41\0\x0b\x0a\x81\xa6status\xcc\xc8"[:15], b"\0\x41\xff\xff\xff\x3f\x0b\1x")), OK),
    Row("a byte of data in each of 2,000 pages", lambda: worker(memory="2048", more="".join(f'(data (i32.const {n << 16}) "x")' for n in range(1, 2_000))), OK),
    Row("active data out of bounds", lambda: worker(more='(data (i32.const 131072) "x")'), EXCEPTION, "out of bounds"),
    Row("active elements out of bounds", lambda: worker(more=TABLE + "(func $f) (elem (i32.const 10) $f)"), EXCEPTION, "out of bounds"),
]  # fmt: skip

#: What each body begins with is off here: (what, code).
OFF = [
    ("an atomic load", b"\x41\0\xfe\x10\2\0\x1a"),
    ("an atomic fence", b"\xfe\3\0"),
    ("memory.atomic.wait32", b"\x41\0\x41\0\x42\0\xfe\1\2\0\x1a"),
    ("try of the old exceptions", b"\6\x40\x0b"),
    ("try_table", b"\x1f\x40\0\x0b"),
    ("throw", b"\x08\0"),
    ("throw_ref", b"\x0a"),
    ("call_ref", b"\xd2\0\x14\0"),
    ("ref.as_non_null", b"\xd0\x70\xd4\x1a"),
    ("struct.new", b"\xfb\0\0\x1a"),
    ("array.new", b"\xfb\6\0\x1a"),
    ("ref.i31", b"\x41\0\xfb\x1c\x1a"),
    ("a relaxed vector", b"\xfd\x0c" + bytes(16) + b"\xfd\x0c" + bytes(16) + b"\xfd\x80\2\x1a"),
    ("64-bit addresses", b"\x42\0\x28\2\0\x1a"),
    ("a second memory in a load", b"\x41\0\x28\x42\1\0\x1a"),
    ("memory.size of a second memory", b"\x3f\1\x1a"),
    ("wide arithmetic", b"\x42\1\x42\1\x42\1\x42\1\xfc\x13\x1a\x1a"),
    ("stack switching", b"\xe0\0\x1a"),
    ("memory.discard", b"\x41\0\x41\0\xfc\x12\0"),
    ("an unknown instruction", b"\x27"),
    ("an unknown prefixed instruction", b"\xfc\xff\xff\3"),
    ("a local that does not exist", b"\x20\x7f\x1a"),
    ("a function that does not exist", b"\x10\x7f"),
    ("a branch out of the function", b"\x0c\x7f"),
    ("values that are not there", b"\x1a"),
    ("a value too many", b"\x41\0"),
    ("an end too many", b"\x0b"),
]  # fmt: skip


def refused(name: str, make: Callable[[], bytes], problem: P, words: str = "") -> Row:
    return Row(name, make, f"refused {problem.value}", words)


def text(body: str) -> Callable[[], bytes]:
    return lambda: wat(f"(module {body})")


#: More of them, and both edges of each bound, are in tests/runtime/test_artifact.py.
REFUSED = [
    refused("an unknown import", lambda: worker(imports='(import "env" "system" (func))'), P.UNKNOWN_IMPORT, "env"),
    refused("a WASI function of another type", lambda: worker(imports=wasi("fd_write", "i64")), P.WRONG_IMPORT_TYPE),
    refused("an imported memory", text('(import "env" "memory" (memory 1 9 shared))'), P.UNKNOWN_IMPORT, "memory"),
    refused("a shared memory", lambda: binary(memory=b"\3\1\2"), P.UNSUPPORTED_FEATURE, "threads"),
    refused("a 64-bit memory", lambda: binary(memory=b"\4\1"), P.UNSUPPORTED_FEATURE, "wasm32"),
    refused("a 64-bit table", lambda: binary(table=vector(b"\x70\4\1")), P.UNSUPPORTED_FEATURE, "wasm32"),
    refused("pages of another size", lambda: binary(memory=b"\x08\1\0"), P.UNSUPPORTED_FEATURE, "64 KiB"),
    refused("two memories", text('(memory (export "memory") 1) (memory 1)'), P.TOO_MANY, "2 memories"),
    refused("two tables", lambda: worker(more=TABLE + "(table 1 funcref)"), P.TOO_MANY, "2 tables"),
    refused("a table of 2^32 - 1 elements", lambda: binary(table=vector(b"\x70\0\xff\xff\xff\xff\x0f")), P.TOO_MANY),
    refused("a memory of 4 GiB", lambda: binary(memory=b"\0\x80\x80\4"), P.TOO_MUCH_MEMORY),
    refused("a table of typed references", lambda: binary(table=vector(b"\x64\0\0\1")), P.UNSUPPORTED_FEATURE),
    refused("a table of externref", lambda: worker(more="(table 10 externref)"), P.UNSUPPORTED_FEATURE, "funcref"),
    refused("a type of the garbage collector", lambda: binary(types=(b"\x5f\0",)), P.UNSUPPORTED_FEATURE),
    refused("a tag section", lambda: sample("hello")[:8] + section(13, b"\1\0\0"), P.UNSUPPORTED_FEATURE, "exceptions"),
    refused("a component", lambda: wat("(component)"), P.COMPONENT),
    refused("half a module", lambda: sample("hello")[:800], P.TRUNCATED),
    refused("4 million empty custom sections", lambda: sample("hello") + b"\0\1\0" * 4_000_000, P.TOO_MANY),
    refused("9,000,000 passive elements", lambda: binary(functions=((0, b"\0\x0b"),), element=vector(b"\1\0" + leb(9_000_000) + b"\2" * 9_000_000)), P.TOO_MANY, "element segments take"),
    refused("2^32 - 1 functions", lambda: sample("hello")[:8] + section(1, b"\1\x60\0\0") + section(3, leb(2**32 - 1)), P.TOO_MANY),
    refused("2^32 - 1 types", lambda: sample("hello")[:8] + section(1, leb(2**32 - 1)), P.TOO_MANY),
]  # fmt: skip

ROWS: Final = [*LOOPS, *STACKS, *MEMORIES, *TABLES, *POINTERS, *TRAPS, *SIZES, *REFUSED]
