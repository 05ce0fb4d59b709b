"""A process that reads, compiles and runs mutants until none is left: its exit status is the verdict.

`python -m tests.support.fuzz_child FIRST LAST STEP PROGRESS`. The file PROGRESS has the number of the mutant
under way; stdout, at the end, how many ended how. A mutant that hangs ends the process by SIGALRM.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Final, cast

from bindings.operations import OPERATIONS
from model.capabilities import WorkerEnv
from model.identity import DEFAULT_ACCOUNT, ScriptName, TenantId, VersionId
from model.outcome import EventOutcome
from model.scripts import ScriptRef, ScriptVersion
from runtime.artifact import Artifact, read_artifact
from runtime.capi.failures import CapiError
from runtime.capi.guest import live_guests
from runtime.fiber import Lanes
from runtime.instance_pool import InstancePool, LoadedModule
from runtime.linking import make_linker
from runtime.module_problems import InvalidModule
from runtime.running import RunningEvents
from runtime.shelf import Shelf
from runtime.worker import RuntimeHost, Worker
from tests.security.hostile_rows import LOOPS, MEMORIES, POINTERS, STACKS, TRAPS
from tests.support.guests import SAMPLES, Remembered, RememberingObserver, context, engine, request
from tests.support.mutations import mutant

#: A mutant that takes longer hangs: it has 20 ms of CPU, 200 ms in all, and a few to compile.
MUTANT_S: Final = 20
LIMITS: Final = {"cpu_ms": 20, "wall_ms": 200, "background_ms": 100}
_SEED_BYTES: Final = 20_000


def seeds() -> list[bytes]:
    samples = [path.read_bytes() for path in sorted(SAMPLES.glob("*/*.wasm"))]
    rows = [row.make() for row in (*LOOPS, *STACKS, *MEMORIES, *POINTERS, *TRAPS)]
    return [wasm for wasm in (*samples, *rows, *rows) if len(wasm) <= _SEED_BYTES]


class OneModule:
    """In place of the pool: the mutant of the moment, which nobody stores."""

    def __init__(self) -> None:
        self.loaded: LoadedModule | None = None

    def get(self, _digest: str) -> LoadedModule | None:
        return self.loaded


class Fuzzer:
    def __init__(self) -> None:
        self.engine = engine()
        self.linker = make_linker(self.engine)
        self.pool = OneModule()
        self.observer = RememberingObserver()
        pool = cast(InstancePool, self.pool)
        self.host = RuntimeHost(self.engine, Lanes(1), pool, OPERATIONS, self.observer, RunningEvents())
        self.host.running.start()

    async def try_one(self, wasm: bytes) -> str:
        """How it ended. Whatever is raised here has no name, and ends the process."""
        try:
            artifact = read_artifact(wasm)
        except InvalidModule as refused:
            return f"refused {refused.code.value}"
        try:
            module = self.engine.compile(wasm)
        except CapiError:
            return "invalid"
        try:
            pre = self.linker.instantiate_pre(module)
        except CapiError:
            module.close()
            return "not linked"
        place, _ = Shelf(1, 1).put("tenant", artifact.digest, len(wasm))
        self.pool.loaded = LoadedModule(module, pre, "_initialize" in artifact.exports, place)
        outcomes = [await self._run(artifact, handler) for handler in sorted(artifact.handlers)]
        assert self.pool.loaded.users == 0
        pre.close()
        module.close()
        assert live_guests() == 0
        self.observer.records.clear()
        self.observer.lines.clear()
        return outcomes[0].value

    async def _run(self, artifact: Artifact, handler: str) -> EventOutcome:
        version = ScriptVersion(
            DEFAULT_ACCOUNT,
            ScriptRef(None, ScriptName("mutant")),
            TenantId("tenant"),
            VersionId("v1"),
            artifact.digest,
            artifact.handlers,
            limits=LIMITS,
        )
        worker = Worker(self.host, version, WorkerEnv(vars={"GREETING": "hi"}))
        if handler == "fetch":
            incoming = request("POST", "/?a=b", [(b"x-a", b"1")], b"body")
            ending = await worker.fetch(incoming, Remembered(), context(), {})
        else:
            ending, _ = await worker.background(handler, {"messages": [], "cron": "* * * * *"}, context())
        return ending.outcome


async def main(numbers: range, progress: int) -> None:
    fuzzer = Fuzzer()
    given = seeds()
    ended: Counter[str] = Counter()
    for number in numbers:
        os.pwrite(progress, b"%12d" % number, 0)
        signal.alarm(MUTANT_S)
        ended[await fuzzer.try_one(mutant(given, number))] += 1
    signal.alarm(0)
    fuzzer.host.running.stop()
    fuzzer.host.lanes.close()
    for how, count in ended.most_common():
        print(count, how)


if __name__ == "__main__":
    first, last, step = map(int, sys.argv[1:4])
    with Path(sys.argv[4]).open("wb") as file:
        asyncio.run(main(range(first, last, step), file.fileno()))
