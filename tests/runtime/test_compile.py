"""An upload compiles in a child of its own that holds nothing of ours, within limits, a few at a time."""

from __future__ import annotations

import asyncio
import functools
import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgpack
import pytest

from model.errors import ProcessLost
from runtime.compile import Compiler, _why_it_died
from runtime.compile_answers import Compiled, CompileRefused, ScriptRefused
from runtime.compile_job import COMPILE_CPU_S
from runtime.javascript.bundle import Module, ModuleType, encode, make
from runtime.javascript.delta import parse
from runtime.piped_child import PipedChild
from tests.support.guests import engine, sample, wat
from tests.support.toy_engine import toy_engine

MEMORY = 16 << 20
GOOD = wat(
    '(module (memory (export "memory") 1) (func (export "alloc") (param i32) (result i32) local.get 0))'
)


async def refused(wasm: bytes, *, memory: int = MEMORY, wall_s: float = 60) -> str:
    with pytest.raises(CompileRefused) as caught:
        await Compiler(wall_s=wall_s).compile(wasm, memory)
    return str(caught.value)


@pytest.mark.parametrize("wasm", [GOOD, sample("hello"), sample("hello_zig")], ids=["wat", "c", "zig"])
async def test_good_module_becomes_an_image_that_this_engine_loads(wasm: bytes, tmp_path: Path) -> None:
    compiled = await Compiler().compile(wasm, MEMORY)
    path = tmp_path / "image"
    path.write_bytes(compiled.image)
    engine().load_image(str(path)).close()
    assert 0 <= compiled.startup_us < 1_000_000


@pytest.mark.parametrize(
    ("wasm", "words"),
    [
        (b"", "not valid here"),
        (b"\0asm\1\0\0\0\x01", "not valid here"),
        (GOOD[:-3], "not valid here"),
        (wat('(module (import "env" "f" (func)))'), "env"),
        (
            b"\0asm\1\0\0\0\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x0a\x05\x01\x03\x00\x6a\x0b",
            "type mismatch",
        ),
    ],
    ids=["empty", "cut section", "cut module", "unknown import", "ill-typed"],
)
async def test_invalid_module_is_refused_with_the_reason(wasm: bytes, words: str) -> None:
    assert words in await refused(wasm)


def starting(body: str, imports: str = "") -> bytes:
    return wat(f'(module {imports} (memory (export "memory") 1) (func $s {body}) (start $s))')


SPINS = starting("(loop $l (br $l))")
CALL = '(import "tenantry_v1" "call" (func $call (param i32 i32) (result i32)))'
LOG = '(import "tenantry_v1" "log" (func $log (param i32 i32 i32)))'
CLOCK = '(import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))'
ENVIRONMENT = '(import "wasi_snapshot_preview1" "environ_sizes_get" (func $env (param i32 i32) (result i32)))'
EXIT = '(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))'


@pytest.mark.parametrize(
    ("wasm", "words"),
    [
        (SPINS, "more than 1000 ms of CPU time"),
        (starting("unreachable"), "unreachable"),
        (starting("(drop (call $call (i32.const 0) (i32.const 0)))", CALL), "start function called the host"),
        (starting("(call $log (i32.const 0) (i32.const 0) (i32.const 1))", LOG), "tried out"),
        (
            starting("(drop (call $clock (i32.const 0) (i64.const 0) (i32.const 8)))", CLOCK),
            "start function called the host",
        ),
        (starting("(drop (call $env (i32.const 0) (i32.const 8)))", ENVIRONMENT), "WASI is not available"),
        (starting("(call $exit (i32.const 3))", EXIT), "proc_exit(3)"),
        (wat('(module (memory (export "memory") 300))'), "memory"),
        (wat('(module (memory 1) (data (i32.const 65535) "ab"))'), "out of bounds"),
    ],
    ids=[
        "spins",
        "traps",
        "calls",
        "logs",
        "reads a clock",
        "reads variables",
        "exits",
        "too much memory",
        "data",
    ],
)
async def test_module_that_does_not_start_is_refused_with_the_reason(wasm: bytes, words: str) -> None:
    reason = await refused(wasm)
    assert words in reason
    assert "Traceback" not in reason


@pytest.mark.parametrize(
    ("status", "errors", "words"),
    [
        (-24, b"", "60 s of CPU time"),
        (-9, b"", "the host had no memory left for it"),
        (1, b"Traceback\nMemoryError\n", "2 GiB of memory"),
        (-6, b"memory allocation of 100 bytes failed\n", "2 GiB of memory"),
        (-6, b"thread panicked\n", "failed on this module: thread panicked"),
        (-11, b"", "it ended with -11"),
        (1, b"x" * 10_000, "failed on this module: xxx"),
    ],
)
def test_why_a_child_died_is_told(status: int, errors: bytes, words: str) -> None:
    why = _why_it_died(status, errors)
    assert words in why
    assert len(why) < 400


async def test_child_over_its_wall_time_is_killed_and_reaped(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[PipedChild] = []
    second = asyncio.Event()

    def remember(*args: Any) -> PipedChild:
        child = PipedChild(*args)
        started.append(child)
        if len(started) == 2:
            second.set()
        return child

    monkeypatch.setattr("runtime.compile.PipedChild", remember)
    assert "longer than 0.01 s" in await refused(SPINS, wall_s=0.01)
    await ended(started[:1])
    assert started[0].returncode == -9
    cancelled = asyncio.create_task(Compiler().compile(SPINS, MEMORY))
    await second.wait()
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    await ended(started)


async def ended(children: Sequence[PipedChild]) -> None:
    """Until all are reaped: nobody waits for that with an upload."""
    async with asyncio.timeout(60):
        while any(child.returncode is None for child in children):  # noqa: ASYNC110 - a process knows no events
            await asyncio.sleep(0.01)


async def test_child_has_no_environment_and_no_descriptor_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read from /proc while the child waits for its job."""
    secret, other = os.pipe()
    os.set_inheritable(secret, True)
    monkeypatch.setenv("TENANTRY_TOKEN", "secret")
    seen: dict[str, object] = {}

    def look(*args: Any) -> PipedChild:
        child = PipedChild(*args)
        folder = Path(f"/proc/{child.pid}")
        seen["environment"] = (folder / "environ").read_bytes()
        seen["descriptors"] = sorted(int(fd.name) for fd in (folder / "fd").iterdir())
        return child

    monkeypatch.setattr("runtime.compile.PipedChild", look)
    try:
        assert isinstance(await Compiler().compile(GOOD, MEMORY), Compiled)
    finally:
        os.close(secret)
        os.close(other)
    assert seen["environment"] == b""
    assert secret not in seen["descriptors"]  # type: ignore[operator]


async def test_child_is_found_wherever_the_server_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (await Compiler().compile(GOOD, MEMORY)).image


# -- JavaScript, and the child that was started in advance ---------------------------------------------


@functools.cache
def toy_image() -> bytes:
    module = engine().compile(toy_engine())
    try:
        return module.image()
    finally:
        module.close()


def bundle_of(letter: str) -> bytes:
    return encode(make("worker.js", [Module("worker.js", ModuleType.ESM, letter.encode())]))


def with_javascript() -> Compiler:
    compiler = Compiler()
    compiler.use_javascript(toy_image())
    return compiler


async def test_bundle_becomes_a_delta_with_its_handlers() -> None:
    loaded = await with_javascript().load(bundle_of("a"), 64 << 20)
    assert loaded.handlers == {"fetch"}
    assert loaded.entrypoints == ("Api",)
    assert len(parse(loaded.delta).runs) == 2
    assert (await with_javascript().load(bundle_of("a"), 64 << 20)).delta == loaded.delta


async def test_javascript_s_own_error_is_told_with_its_place() -> None:
    with pytest.raises(ScriptRefused, match=r"SyntaxError: unexpected token at worker.js:3:5") as caught:
        await with_javascript().load(bundle_of("e"), 64 << 20)
    error = caught.value.error
    assert (error.kind, error.file, error.line, error.column) == ("SyntaxError", "worker.js", 3, 5)


async def test_without_an_engine_there_is_no_javascript() -> None:
    with pytest.raises(CompileRefused, match="no JavaScript engine"):
        await Compiler().load(bundle_of("a"), 64 << 20)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[PipedChild]:
    """Each child, as it is started."""
    children: list[PipedChild] = []

    def remember(*args: Any) -> PipedChild:
        children.append(PipedChild(*args))
        return children[-1]

    monkeypatch.setattr("runtime.compile.PipedChild", remember)
    return children


async def spares(started: list[PipedChild], count: int) -> None:
    """Until so many children were started."""
    async with asyncio.timeout(60):
        while len(started) < count:  # noqa: ASYNC110 - a list knows no events
            await asyncio.sleep(0.01)


async def test_spare_serves_one_upload_and_dies_and_the_next_follows(
    started: list[PipedChild],
) -> None:
    compiler = with_javascript()
    compiler.keep_spare()
    try:
        for number in range(1, 4):
            await spares(started, number)
            assert (await compiler.load(bundle_of("a"), 64 << 20)).handlers == {"fetch"}
            await ended(started[:number])
        await spares(started, 4)
        assert (await compiler.compile(GOOD, MEMORY)).image
    finally:
        await compiler.close()
    assert len(started) in (4, 5)
    assert all(child.returncode is not None for child in started)


async def test_uploads_at_once_do_not_share_a_child(started: list[PipedChild]) -> None:
    compiler = with_javascript()
    compiler.keep_spare()
    try:
        loaded = await asyncio.gather(*(compiler.load(bundle_of("a"), 64 << 20) for _ in range(3)))
    finally:
        await compiler.close()
    assert len({each.delta for each in loaded}) == 1
    assert len(started) in (3, 4)
    assert all(child.returncode is not None for child in started)


async def test_spare_that_died_is_replaced(started: list[PipedChild]) -> None:
    compiler = with_javascript()
    compiler.keep_spare()
    try:
        await spares(started, 1)
        started[0].kill()
        await started[0].wait()
        assert (await compiler.load(bundle_of("a"), 64 << 20)).handlers == {"fetch"}
    finally:
        await compiler.close()
    assert len(started) >= 2


async def test_child_that_hangs_before_it_is_ready_costs_the_time_of_a_start(
    started: list[PipedChild], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upload waits for its answer for two minutes: one that never says that it is ready is given none."""
    compiler = Compiler(argv=(sys.executable, "-c", "import time; time.sleep(600)"), ready_s=0.2)
    compiler.use_javascript(toy_image())
    compiler.keep_spare()
    with pytest.raises(ProcessLost, match="could not be started"):
        await compiler.load(bundle_of("a"), 64 << 20)
    # The spare, and the one that was tried in its place.
    assert len(started) == 2
    monkeypatch.setattr(compiler, "_argv", Compiler()._argv)
    monkeypatch.setattr(compiler, "_ready_s", 60.0)
    assert (await compiler.load(bundle_of("a"), 64 << 20)).handlers == {"fetch"}
    await compiler.close()
    await ended(started)


async def test_child_that_dies_at_its_start_is_the_host_s_fault() -> None:
    compiler = Compiler(argv=(sys.executable, "-c", "raise SystemExit('no such library')"))
    with pytest.raises(ProcessLost) as caught:
        await compiler.compile(GOOD, MEMORY)
    assert caught.value.detail == "no such library"
    await compiler.close()


ANSWERS = """
import struct, sys
def read(): return sys.stdin.buffer.read(*struct.unpack("<Q", sys.stdin.buffer.read(8)))
read()
sys.stdout.buffer.write(bytes(8))
sys.stdout.flush()
read()
sys.stdout.buffer.write({})
sys.stdout.flush()
sys.stdin.buffer.read()
"""


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("struct.pack('<Q', 21 << 20)", "larger than is kept"),
        ("struct.pack('<Q', 1) + b'\\xc1'", "gave no answer"),
        ("struct.pack('<Q', 5) + b'\\xdd' + bytes([255] * 4)", "gave no answer"),  # of four billion items
        ("struct.pack('<Q', 1) + b'\\x80'", "gave no answer"),
        ("struct.pack('<Q', 2) + b'\\x80\\x80'", "gave no answer"),
    ],
    ids=["too large", "no MessagePack", "of many items", "empty", "two"],
)
async def test_answer_of_a_child_that_is_not_ours_any_more_is_refused(answer: str, words: str) -> None:
    compiler = Compiler(argv=(sys.executable, "-c", ANSWERS.format(answer)))
    with pytest.raises(CompileRefused, match=words):
        await compiler.load(bundle_of("a"), 64 << 20)
    await compiler.close()


@pytest.mark.parametrize(
    "told",
    [
        {"script": {"other": 1}},
        {"script": {"kind": "E", "message": ["no text"]}},
        {"script": {"kind": "E", "message": "m", "line": "1"}},
        {"script": {"kind": "E", b"\xff": 1, "line": {}}},
        {"delta": b"", "startup_us": 1, "handlers": [1], "entrypoints": []},
        {"delta": b"", "startup_us": 1, "handlers": ["fetch"] * 1_001, "entrypoints": []},
        {"delta": b"", "startup_us": 1, "handlers": ["fetch"], "entrypoints": ["x" * 513]},
        {"delta": b"", "startup_us": 1, "handlers": ["fetch"], "entrypoints": {"a": 1}},
    ],
)
async def test_what_a_child_that_is_not_ours_tells_of_a_script_is_refused(
    told: dict[str, object],
) -> None:
    packed = msgpack.packb(told)
    answer = f"struct.pack('<Q', {len(packed)}) + {packed!r}"
    compiler = Compiler(argv=(sys.executable, "-c", ANSWERS.format(answer)))
    with pytest.raises(CompileRefused, match=r"^the compiler gave no answer$"):
        await compiler.load(bundle_of("a"), 64 << 20)
    await compiler.close()


async def test_spare_that_could_not_be_started_costs_no_upload(monkeypatch: pytest.MonkeyPatch) -> None:
    class Exhausted(PipedChild):
        def __init__(self, *_args: object) -> None:
            raise BlockingIOError("no process is left")

    compiler = with_javascript()
    monkeypatch.setattr("runtime.compile.PipedChild", Exhausted)
    compiler.keep_spare()
    await asyncio.sleep(0)
    monkeypatch.undo()
    assert (await compiler.load(bundle_of("a"), 64 << 20)).handlers == {"fetch"}
    monkeypatch.setattr("runtime.compile.PipedChild", Exhausted)
    await compiler.close()


def test_cpu_time_counts_from_the_job_on() -> None:
    """A spare uses a little for as long as it waits: after hours that was all it had."""
    code = """
import resource, time
from runtime.compile_child import _limit_cpu, _limit_itself
_limit_itself()
before = resource.getrlimit(resource.RLIMIT_CPU)
while time.process_time() < 1.5:
    pass
_limit_cpu()
print(*before, *resource.getrlimit(resource.RLIMIT_CPU))
"""
    root = Path(__file__).parents[2]
    ran = subprocess.run([sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE, check=True)
    before, before_hard, soft, hard = map(int, ran.stdout.split())
    assert (before, before_hard) == resource.getrlimit(resource.RLIMIT_CPU)
    # SIGXCPU comes first: a child that is killed was killed by somebody else.
    assert soft < hard
    assert COMPILE_CPU_S + 1.5 <= soft < COMPILE_CPU_S + 10


async def test_spare_from_before_there_was_an_engine_is_not_used_for_javascript(
    started: list[PipedChild],
) -> None:
    compiler = Compiler()
    compiler.keep_spare()
    try:
        await spares(started, 1)
        compiler.use_javascript(toy_image())
        assert (await compiler.load(bundle_of("a"), 64 << 20)).handlers == {"fetch"}
    finally:
        await compiler.close()
    assert len(started) >= 2


async def test_nothing_is_started_once_it_is_closed(
    started: list[PipedChild], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A spare is started a while after an upload, and that may have been the last one."""
    monkeypatch.setattr("runtime.compile._SPARE_AFTER_S", 0.05)
    compiler = with_javascript()
    compiler.keep_spare()
    await compiler.load(bundle_of("a"), 64 << 20)
    await compiler.close()
    count = len(started)
    await asyncio.sleep(0.3)
    assert len(started) == count
    assert all(child.returncode is not None for child in started)


async def test_a_spare_in_whose_place_there_is_another_is_ended_when_nobody_waits_for_it(
    started: list[PipedChild],
) -> None:
    compiler = with_javascript()
    compiler.keep_spare()
    waiting = asyncio.create_task(compiler.load(bundle_of("a"), 64 << 20))
    await asyncio.sleep(0)
    compiler._start_spare()  # as a while after the upload before
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await spares(started, 2)
    await compiler.close()
    assert all(child.returncode is not None for child in started)


async def test_who_leaves_while_the_spare_starts_leaves_no_child(
    started: list[PipedChild],
) -> None:
    compiler = with_javascript()
    compiler.keep_spare()
    leaving = asyncio.create_task(compiler.load(bundle_of("a"), 64 << 20))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert (await compiler.load(bundle_of("a"), 64 << 20)).handlers == {"fetch"}
    await compiler.close()
    assert all(child.returncode is not None for child in started)


async def test_spare_holds_no_more_than_a_fresh_child(started: list[PipedChild]) -> None:
    """Descriptors, environment, rights; the one that waits and the one that was started for its upload."""
    compiler = with_javascript()
    compiler.keep_spare()
    try:
        await spares(started, 1)
        spare = Path(f"/proc/{started[0].pid}")
        fresh = await compiler._start()
        other = Path(f"/proc/{fresh.process.pid}")
        assert (spare / "environ").read_bytes() == (other / "environ").read_bytes() == b""
        held = [sorted(int(fd.name) for fd in (folder / "fd").iterdir()) for folder in (spare, other)]
        assert all(max(each) <= 16 for each in held)
        fresh.process.kill()
        await fresh.process.wait()
    finally:
        await compiler.close()
