"""Nothing that a hostile module does ends the process, or leaves a neighbour unanswered.

Each row: what a module does → the outcome of its event, by name, or the problem that its upload is refused for.
The rows run one after another in a child process, beside a neighbour's requests; its exit status is the
verdict. What its own compile child answers for (start functions, compile bombs) goes through a real one.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, Final

import msgpack
import pytest

from model.outcome import EventOutcome
from runtime.compile import Compiler
from runtime.compile_answers import CompileRefused
from runtime.signatures import ABI_SIGNATURES, WASI_SIGNATURES
from tests.runtime.calling import calling_module
from tests.security.hostile_rows import EXCEPTION, LIMITS, MIB, OFF, OK, ROWS, Row, of_locals
from tests.support.children import ROOT
from tests.support.guests import Guests, sample
from tests.support.hostile_modules import binary


class Abuser:
    """The child. It is started again after a row that ended it, so that each row is judged alone."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None

    def run(self, wasm: bytes, limits: dict[str, int]) -> dict[str, Any]:
        child = self._child
        if child is None:
            child = self._child = subprocess.Popen(
                [sys.executable, "-m", "tests.support.abuse_child"],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(msgpack.packb({"wasm": wasm, "limits": limits}))
        child.stdin.flush()
        unpacker = msgpack.Unpacker()
        while data := os.read(child.stdout.fileno(), 1 << 16):
            unpacker.feed(data)
            for answer in unpacker:
                return dict(answer)
        self._child = None
        pytest.fail(f"the child ended with {child.wait()}")

    def close(self) -> int:
        if self._child is None:
            return 0
        self._child.communicate()
        return self._child.returncode


@pytest.fixture(scope="module")
def abuser() -> Iterator[Abuser]:
    made = Abuser()
    yield made
    assert made.close() == 0


def judged(answer: dict[str, Any]) -> str:
    if "refused" in answer:
        return f"refused {answer['refused']}"
    return "invalid" if "invalid" in answer else str(answer["outcome"])


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_hostile_module_ends_by_name_beside_a_neighbour_that_is_answered(abuser: Abuser, row: Row) -> None:
    answer = abuser.run(row.make(), row.limits)
    assert judged(answer) == row.outcome, answer
    assert row.words in answer.get("message", answer.get("invalid", "")), answer
    assert answer.get("answered") == answer.get("asked")


@pytest.mark.parametrize("code", [code for _, code in OFF], ids=[name for name, _ in OFF])
def test_instruction_that_is_off_is_refused_by_the_compiler(abuser: Abuser, code: bytes) -> None:
    answer = abuser.run(binary(b"\0" + code + b"\x42\x0a\x0b"), LIMITS)
    assert judged(answer) == "invalid", answer


_HOSTILE: Final = (0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 65_535, 65_536, 1)


@pytest.mark.parametrize("name", [*ABI_SIGNATURES, *WASI_SIGNATURES])
def test_every_import_takes_every_hostile_argument(abuser: Abuser, name: str) -> None:
    """All arguments hostile, and each alone beside ones that are fine. Whatever it answers, it has a name."""
    params = {**ABI_SIGNATURES, **WASI_SIGNATURES}[name].params
    cases = {(value,) * len(params) for value in _HOSTILE}
    for at in range(len(params)):
        cases |= {tuple(value if n == at else 8 * n for n in range(len(params))) for value in _HOSTILE}
    for case in sorted(cases):
        answer = abuser.run(calling_module(name, case), LIMITS)
        assert judged(answer) in (OK, EXCEPTION), (case, answer)
        assert answer["answered"] == answer["asked"]


def bomb(body: bytes, functions: int = 1) -> bytes:
    """Dear to compile; the worker itself is a small one."""
    return binary(functions=((0, body),) * functions)


@pytest.mark.parametrize(
    ("wasm", "limit", "words"),
    [
        (bomb(of_locals(49_000)[:-3] + b"\x0b", 5_000), "COMPILE_CPU_S = 1", "s of CPU time"),
        (bomb(b"\0" + b"\2\x40\x41\0\x0d\0\x0b" * 1_000_000 + b"\x0b"), "COMPILE_CPU_S = 1", "s of CPU time"),
        (bomb(b"\0" + b"\x10\2" * 1_000_000 + b"\x0b"), "COMPILE_MEMORY_BYTES = 300 << 20", "GiB of memory"),
    ],
    ids=["40 KB that declare 245 million locals", "a million branches", "a million calls"],
)
async def test_compile_bomb_is_ended_at_its_limit_beside_a_neighbour(
    wasm: bytes, limit: str, words: str
) -> None:
    """With a lower limit than in earnest: what is held here is that the limit is one, and has a name."""
    child = f"import runtime.compile_child as child; child.{limit}; child.main()"
    upload = asyncio.create_task(Compiler(argv=(sys.executable, "-c", child)).compile(wasm, 128 * MIB))
    guests = Guests()
    while not upload.done():
        ending, response = await guests.fetch(guests.worker(sample("hello")))
        assert (ending.outcome, response.status) == (EventOutcome.OK, 200)
        await asyncio.sleep(0.01)
    guests.close()
    with pytest.raises(CompileRefused, match=words):
        await upload
