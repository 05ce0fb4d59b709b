"""An upload compiles in a child of its own that holds nothing of ours, within limits, a few at a time."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from runtime.compile import Compiled, Compiler, CompileRefused, _why_it_died
from tests.support.guests import engine, sample, wat

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


CALL = '(import "tenantry_v1" "call" (func $call (param i32 i32) (result i32)))'
LOG = '(import "tenantry_v1" "log" (func $log (param i32 i32 i32)))'
CLOCK = '(import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))'
ENVIRONMENT = '(import "wasi_snapshot_preview1" "environ_sizes_get" (func $env (param i32 i32) (result i32)))'
EXIT = '(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))'


@pytest.mark.parametrize(
    ("wasm", "words"),
    [
        (starting("(loop $l (br $l))"), "more than 1000 ms of CPU time"),
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
        (-9, b"", "60 s of CPU time"),
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
    started: list[asyncio.subprocess.Process] = []
    second = asyncio.Event()
    really = asyncio.create_subprocess_exec

    async def remember(*args: str, **options: object) -> asyncio.subprocess.Process:
        child = await really(*args, **options)  # type: ignore[arg-type]
        started.append(child)
        if len(started) == 2:
            second.set()
        return child

    monkeypatch.setattr("asyncio.create_subprocess_exec", remember)
    assert "longer than 0.01 s" in await refused(GOOD, wall_s=0.01)
    assert started[0].returncode == -9
    cancelled = asyncio.create_task(Compiler().compile(starting("(loop $l (br $l))"), MEMORY))
    await second.wait()
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert started[1].returncode is not None


async def test_child_has_no_environment_and_no_descriptor_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read from /proc while the child waits for its job."""
    secret, other = os.pipe()
    os.set_inheritable(secret, True)
    monkeypatch.setenv("TENANTRY_TOKEN", "secret")
    seen: dict[str, object] = {}
    really = asyncio.create_subprocess_exec

    async def look(*args: str, **options: object) -> asyncio.subprocess.Process:
        child = await really(*args, **options)  # type: ignore[arg-type]
        folder = Path(f"/proc/{child.pid}")
        seen["environment"] = (folder / "environ").read_bytes()
        seen["descriptors"] = sorted(int(fd.name) for fd in (folder / "fd").iterdir())
        return child

    monkeypatch.setattr("asyncio.create_subprocess_exec", look)
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
