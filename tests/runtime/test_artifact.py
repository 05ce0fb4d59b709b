"""What an upload is decided by its bytes alone, before anything is compiled: every refusal has a stable code
and says what would be right; hostile bytes give a refusal, never a crash, a hang or a guess.
"""

from __future__ import annotations

import hashlib

import pytest
import wasmtime
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import artifact, wasm_sections
from runtime.artifact import Artifact, InvalidModule, ModuleProblem, read_artifact
from runtime.signatures import ABI_SIGNATURES, IMPORT_SIGNATURES, WASI_SIGNATURES, FunctionType

HANDLER = '(func (export "fetch") (param i32 i32) (result i64) i64.const 0)'
ALLOC = '(func (export "alloc") (param i32) (result i32) i32.const 1024)'
MEMORY = '(memory (export "memory") 1)'
BODY = MEMORY + ALLOC + HANDLER


def wat(text: str) -> bytes:
    return bytes(wasmtime.wat2wasm(f"(module {text})"))


def leb(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def section(number: int, *entries: bytes, count: int | None = None) -> bytes:
    payload = leb(len(entries) if count is None else count) + b"".join(entries)
    return bytes([number]) + leb(len(payload)) + payload


HEADER = b"\0asm\1\0\0\0"
TYPE = section(1, b"\x60\0\0")


def refusal(data: bytes) -> InvalidModule:
    with pytest.raises(InvalidModule) as caught:
        read_artifact(data)
    return caught.value


def test_a_worker_is_described() -> None:
    data = wat(
        '(import "tenantry_v1" "call" (func (param i32 i32) (result i32)))'
        '(import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))'
        '(memory (export "memory") 2 17)'
        + ALLOC
        + HANDLER
        + '(func (export "queue") (param i32 i32) (result i64) i64.const 0)'
        + '(func (export "_initialize")) (func $s) (start $s)'
    )
    found = read_artifact(data)
    assert found.kind == "module"
    assert found.digest == hashlib.sha256(data).hexdigest()
    assert [(entry.module, entry.name, entry.kind, str(entry.signature)) for entry in found.imports] == [
        ("tenantry_v1", "call", "function", "(i32, i32) -> i32"),
        ("wasi_snapshot_preview1", "sched_yield", "function", "() -> i32"),
    ]
    assert found.handlers == {"fetch", "queue"}
    assert found.exports["memory"] == ("memory", None)
    assert found.exports["fetch"] == ("function", FunctionType(("i32", "i32"), ("i64",)))
    assert (found.memory_min_pages, found.memory_max_pages) == (2, 17)
    assert found.uses_wasi
    assert found.has_start


def test_a_module_without_imports_uses_no_wasi_and_its_memory_is_open_upwards() -> None:
    found = read_artifact(wat(BODY))
    assert not found.uses_wasi
    assert not found.has_start
    assert found.imports == ()
    assert found.memory_max_pages is None
    assert found.handlers == {"fetch"}


def test_every_function_of_both_import_modules_may_be_imported() -> None:
    imports = "".join(
        f'(import "{module}" "{name}" (func (param {" ".join(signature.params)})'
        f" (result {' '.join(signature.results)})))"
        for module, functions in IMPORT_SIGNATURES.items()
        for name, signature in functions.items()
    )
    assert len(read_artifact(wat(imports + BODY)).imports) == len(ABI_SIGNATURES) + len(WASI_SIGNATURES)


def test_wasi_signatures_are_those_of_an_independent_implementation() -> None:
    engine = wasmtime.Engine()
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    store = wasmtime.Store(engine)
    store.set_wasi(wasmtime.WasiConfig())
    for name, signature in WASI_SIGNATURES.items():
        function = linker.get(store, "wasi_snapshot_preview1", name)
        assert isinstance(function, wasmtime.Func)
        theirs = function.type(store)
        assert tuple(map(str, theirs.params)) == signature.params, name
        assert tuple(map(str, theirs.results)) == signature.results, name


P = ModuleProblem
IMPORT_CALL = '(import "tenantry_v1" "call" (func (param i32 i32) (result i32)))'
NOT_MODULES = [
    (b"", P.NOT_WASM, "empty"),
    (b"\x7fELF\2\1\1\0", P.NOT_WASM, "7f 45 4c 46"),
    (b"export default {}", P.NOT_WASM, "compiled .wasm"),
    (b"\0as", P.TRUNCATED, "cut off"),
    (HEADER[:7], P.TRUNCATED, "cut off"),
    (b"\0asm\2\0\0\0", P.UNSUPPORTED_VERSION, "02 00 00 00"),
    (b"\0asm\x0d\0\1\0", P.COMPONENT, "components are not supported yet"),
    (b"(module)", P.WAT_TEXT, "compile it first"),
    (b"\xef\xbb\xbf ;; hello\n\t( module $m", P.WAT_TEXT, "compile it first"),
    (b"(component)", P.WAT_TEXT, "compile it first"),
    (b"(modulename)", P.NOT_WASM, "no WebAssembly"),
]


@pytest.mark.parametrize(("data", "code", "says"), NOT_MODULES)
def test_what_is_no_core_module_is_named(data: bytes, code: ModuleProblem, says: str) -> None:
    found = refusal(data)
    assert found.code is code
    assert says in found.message


REFUSED = [
    # imports
    ('(import "env" "f" (func))' + BODY, P.UNKNOWN_IMPORT, "'env' 'f'"),
    ('(import "env" "f" (func))' + BODY, P.UNKNOWN_IMPORT, "'tenantry_v1' and 'wasi_snapshot_preview1'"),
    ('(import "tenantry_v1" "cal" (func))' + BODY, P.UNKNOWN_IMPORT, "has call, take, log"),
    ('(import "wasi_unstable" "fd_write" (func))' + BODY, P.UNKNOWN_IMPORT, "'wasi_unstable'"),
    (
        '(import "tenantry_v1" "call" (func (param i32)))' + BODY,
        P.WRONG_IMPORT_TYPE,
        "it is (i32, i32) -> i32",
    ),
    (
        '(import "tenantry_v1" "log" (func (result i32)))' + BODY,
        P.WRONG_IMPORT_TYPE,
        "it is (i32, i32, i32) -> ()",
    ),
    ('(import "wasi_snapshot_preview1" "proc_exit" (func))' + BODY, P.WRONG_IMPORT_TYPE, "it is (i32) -> ()"),
    ('(import "env" "memory" (memory 1))' + ALLOC + HANDLER, P.UNKNOWN_IMPORT, "is a memory: only functions"),
    ('(import "env" "t" (table 1 funcref))' + BODY, P.UNKNOWN_IMPORT, "is a table: only functions"),
    ('(import "env" "g" (global i32))' + BODY, P.UNKNOWN_IMPORT, "is a global: only functions"),
    # exports
    (MEMORY + ALLOC, P.MISSING_EXPORT, "fetch, queue, scheduled or tail"),
    (MEMORY + '(func (export "_start"))', P.COMMAND, "-mexec-model=reactor"),
    (ALLOC + HANDLER, P.MISSING_EXPORT, "export it as 'memory'"),
    (MEMORY + HANDLER, P.MISSING_EXPORT, "'alloc' of type (i32) -> i32"),
    ('(global (export "memory") i32 i32.const 0)' + ALLOC + HANDLER, P.WRONG_EXPORT_TYPE, "is a global"),
    (MEMORY + '(func (export "alloc"))' + HANDLER, P.WRONG_EXPORT_TYPE, "'alloc' has type () -> ()"),
    (MEMORY + ALLOC + '(func (export "fetch"))', P.WRONG_EXPORT_TYPE, "'fetch' has type () -> ()"),
    (
        MEMORY + ALLOC + '(global (export "queue") i32 i32.const 0)',
        P.WRONG_EXPORT_TYPE,
        "'queue' is a global",
    ),
    (BODY + '(func (export "scheduled") (param i32))', P.WRONG_EXPORT_TYPE, "(i32, i32) -> i64"),
    (BODY + '(func (export "_initialize") (param i32))', P.WRONG_EXPORT_TYPE, "'_initialize' has type (i32)"),
    # features that are off
    (BODY + "(memory 1)", P.TOO_MANY, "2 memories; at most 1"),
    (
        '(memory (export "memory") 1 1 shared)' + ALLOC + HANDLER,
        P.UNSUPPORTED_FEATURE,
        "build without threads",
    ),
    ('(memory (export "memory") i64 1)' + ALLOC + HANDLER, P.UNSUPPORTED_FEATURE, "build for wasm32"),
    (BODY + "(tag)", P.UNSUPPORTED_FEATURE, "exceptions"),
    (BODY + "(type (struct))", P.UNSUPPORTED_FEATURE, "garbage-collected"),
    (BODY + "(func (param anyref))", P.UNSUPPORTED_FEATURE, "0x6e"),
    (BODY + "(table 0 anyref)", P.UNSUPPORTED_FEATURE, "there is funcref"),
    (BODY + "(table 0 externref)", P.UNSUPPORTED_FEATURE, "type 0x6f; there is funcref"),
    (BODY + "(func (param externref))", P.UNSUPPORTED_FEATURE, "value type 0x6f"),
    # sizes, one above the edge
    ('(memory (export "memory") 2049)' + ALLOC + HANDLER, P.TOO_MUCH_MEMORY, "at most 134,217,728 (128 MiB)"),
    (BODY + "(table 100001 funcref)", P.TOO_MANY, "at most 100,000"),
    (BODY + "(table 1 funcref) (table 1 funcref)", P.TOO_MANY, "2 tables; at most 1"),
    (BODY + f"(func (param {'i32 ' * 1001}))", P.TOO_MANY, "1,001 parameters"),
]


@pytest.mark.parametrize(("text", "code", "says"), REFUSED)
def test_a_wellformed_module_that_is_no_worker_is_refused(text: str, code: ModuleProblem, says: str) -> None:
    found = refusal(wat(text))
    assert found.code is code
    assert says in found.message


AT_THE_EDGE = [
    '(memory (export "memory") 2048)' + ALLOC + HANDLER,
    '(memory (export "memory") 1 65536)' + ALLOC + HANDLER,  # it may try to grow; the sandbox says no
    BODY + "(table 100000 funcref)",
    BODY + "(table 1 funcref)",
    BODY + f"(func (param {'i32 ' * 1000}))",
    BODY + "(func (param v128 f32 f64 funcref) (result i32 i64) unreachable)",
    BODY + '(func (export "_start"))',  # a command that answers events too is a worker
    IMPORT_CALL * 1000 + BODY,
    BODY + "(global i32 i32.const 0)" * 10_000,
    BODY + "".join(f'(export "e{n}" (func 0))' for n in range(9_997)),
]


@pytest.mark.parametrize("text", AT_THE_EDGE, ids=range(len(AT_THE_EDGE)))
def test_what_is_exactly_at_a_bound_is_accepted(text: str) -> None:
    assert read_artifact(wat(text)).handlers == {"fetch"}


OVER_THE_EDGE = [
    (IMPORT_CALL * 1001 + BODY, "1,001 imports; at most 1,000"),
    (BODY + "(global i32 i32.const 0)" * 10_001, "10,001 globals; at most 10,000"),
    (BODY + "".join(f'(export "e{n}" (func 0))' for n in range(9_998)), "10,001 exports; at most 10,000"),
]


@pytest.mark.parametrize(("text", "says"), OVER_THE_EDGE, ids=["imports", "globals", "exports"])
def test_what_is_one_over_a_bound_is_refused(text: str, says: str) -> None:
    found = refusal(wat(text))
    assert found.code is P.TOO_MANY
    assert says in found.message


def test_functions_are_counted_with_the_imported_ones() -> None:
    imported = section(2, b"\4none\1f\0\0")
    most = wasm_sections.MAX_FUNCTIONS
    bodies = section(10, b"\2\0\x0b" * most, count=most)
    allowed = HEADER + TYPE + section(3, b"\0" * most, count=most) + bodies
    assert refusal(allowed).code is P.MISSING_EXPORT  # past the count; nothing is exported
    one_more = HEADER + TYPE + imported + section(3, b"\0" * most, count=most) + bodies
    assert refusal(one_more).code is P.TOO_MANY


def test_sections_are_counted_with_the_custom_ones() -> None:
    worker = wat(BODY)
    room = wasm_sections.MAX_SECTIONS - 5  # types, functions, memory, exports, code
    custom = section(0, count=0)
    assert read_artifact(worker + custom * room).handlers == {"fetch"}
    found = refusal(worker + custom * (room + 1))
    assert found.code is P.TOO_MANY
    assert "more than 1,000 sections" in found.message


def test_element_segments_have_a_bound_of_bytes() -> None:
    most = wasm_sections.MAX_ELEMENT_BYTES
    worker = wat(BODY)
    at = len(worker) - 14  # of the code section, which comes after the elements
    head, code = worker[:at], worker[at:]
    assert read_artifact(head + section(9, b"\0" * (most - 1), count=0) + code).handlers == {"fetch"}
    found = refusal(head + section(9, b"\0" * most, count=0) + code)
    assert found.code is P.TOO_MANY
    assert "element segments take 524,289 bytes" in found.message


def test_a_module_over_the_size_limit_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    data = wat(BODY)
    monkeypatch.setattr(artifact, "MAX_MODULE_BYTES", len(data))
    assert read_artifact(data).handlers == {"fetch"}
    monkeypatch.setattr(artifact, "MAX_MODULE_BYTES", len(data) - 1)
    found = refusal(data)
    assert found.code is P.TOO_LARGE
    assert "strip" in found.message


BROKEN = [
    (HEADER + b"\1", P.TRUNCATED, "cut off"),  # a section without a size
    (HEADER + b"\1\x80", P.TRUNCATED, "cut off"),
    (HEADER + b"\1\5\0", P.TRUNCATED, "upload the whole file"),
    (HEADER + b"\1\xff\xff\xff\xff\x0f", P.TRUNCATED, "cut off"),  # the largest size there is
    (HEADER + b"\1\xff\xff\xff\xff\x1f", P.MALFORMED, "more than 32 bits"),
    (HEADER + b"\1\x80\x80\x80\x80\x80\0", P.MALFORMED, "longer than 5 bytes"),
    (HEADER + b"\x0e\0", P.MALFORMED, "unknown kind 14"),
    (HEADER + TYPE + TYPE, P.SECTION_ORDER, "type section stands twice"),
    (HEADER + section(3) + TYPE, P.SECTION_ORDER, "too late"),
    (HEADER + section(10) + section(12), P.SECTION_ORDER, "data count"),
    (HEADER + b"\1\4\1\x60\0", P.TRUNCATED, "cut off"),
    (HEADER + b"\1\2\1\x60", P.MALFORMED, "middle of an entry"),
    (HEADER + b"\1\3\1\x60\5", P.MALFORMED, "promises 5 bytes and has 0"),
    (HEADER + b"\1\5\1\x60\0\0\0", P.MALFORMED, "1 bytes are left over"),
    (HEADER + section(1, b"\x61\0\0"), P.MALFORMED, "0x61 instead of 0x60"),
    (HEADER + section(1, count=10_001), P.TOO_MANY, "10,001 types"),
    (HEADER + section(1, b"\0" * (1 << 20)), P.TOO_MANY, "types take 1,048,577 bytes"),
    (HEADER + section(1, count=0xFFFFFFFF), P.TOO_MANY, "types"),
    (HEADER + TYPE + section(2, b"\1a\1b\0\1"), P.MALFORMED, "type 1 does not exist"),
    (HEADER + TYPE + section(2, b"\1a\1\xff\0\0"), P.MALFORMED, "no UTF-8"),
    (HEADER + TYPE + section(2, b"\1a\1b\5"), P.MALFORMED, "unknown kind 5"),
    (HEADER + TYPE + section(3, b"\1"), P.MALFORMED, "type 1 does not exist"),
    (HEADER + TYPE + section(3, b"\0"), P.MALFORMED, "1 functions and has 0 bodies"),
    (HEADER + section(5, b"\1\2\1"), P.MALFORMED, "below its minimum"),
    (HEADER + section(5, b"\0" + leb(65_537)), P.MALFORMED, "65536 pages"),
    (HEADER + section(5, b"\x10\1"), P.MALFORMED, "unknown flags"),
    (HEADER + section(5, b"\x08\1\0"), P.UNSUPPORTED_FEATURE, "custom page sizes"),
    (HEADER + section(7, b"\1m\2\0"), P.MALFORMED, "memory 0, which does not exist"),
    (HEADER + section(7, b"\1m\5\0"), P.MALFORMED, "unknown kind 5"),
    (HEADER + section(5, b"\0\1") + section(7, b"\1m\2\0", b"\1m\2\0"), P.MALFORMED, "stands twice"),
]


@pytest.mark.parametrize(("data", "code", "says"), BROKEN, ids=range(len(BROKEN)))
def test_broken_structure_is_located(data: bytes, code: ModuleProblem, says: str) -> None:
    found = refusal(data)
    assert found.code is code
    assert says in found.message


@pytest.mark.parametrize(
    ("start", "says"), [(b"\2", "has type (i32, i32) -> i64"), (b"\7", "does not exist")]
)
def test_a_start_section_names_a_function_without_parameters(start: bytes, says: str) -> None:
    plain = wat(MEMORY + ALLOC + '(func) (func (export "fetch") (param i32 i32) (result i64) i64.const 0)')
    before, code, after = plain.partition(b"\x0a" + plain.rpartition(b"\x0a")[2][:1])
    assert code
    found = refusal(before + b"\x08\1" + start + code + after)
    assert found.code is P.MALFORMED
    assert says in found.message


def test_custom_sections_are_skipped_wherever_they_stand() -> None:
    data = wat(BODY)
    custom = b"\0\5\4name"
    assert read_artifact(data[:8] + custom + data[8:] + custom * 3).handlers == {"fetch"}


def test_hostile_names_come_back_printable_and_short() -> None:
    name = "\u202e\n" * 20_000
    encoded = leb(len(name.encode())) + name.encode()
    found = refusal(HEADER + TYPE + section(2, encoded + b"\1f\0\0"))
    assert found.code is P.UNKNOWN_IMPORT
    assert found.message.isprintable()
    assert len(found.message) < 1_500


def test_every_cut_of_a_worker_is_refused() -> None:
    data = wat(IMPORT_CALL + BODY)
    for size in range(len(data)):
        refusal(data[:size])


VALID = wat(
    IMPORT_CALL
    + '(import "wasi_snapshot_preview1" "clock_time_get" (func (param i32 i64 i32) (result i32)))'
    + "(table 3 funcref) (global i32 i32.const 0) (elem (i32.const 0) 0)"
    + BODY
    + '(data (i32.const 0) "hello") (func $s) (start $s)'
)


@settings(max_examples=400)
@given(st.binary(max_size=200).flatmap(lambda tail: st.sampled_from([tail, HEADER + tail])))
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    try:
        read_artifact(data)
    except InvalidModule:
        pass


@settings(max_examples=800)
@given(
    st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.binary(max_size=6), st.integers(0, 6)), max_size=4)
)
def test_mutated_workers_are_refused_or_described(edits: list[tuple[int, bytes, int]]) -> None:
    data = VALID
    for at, new, dropped in edits:
        data = data[:at] + new + data[at + dropped :]
    try:
        found = read_artifact(data)
    except InvalidModule:
        pass
    else:
        assert isinstance(found, Artifact)
        assert found.handlers
