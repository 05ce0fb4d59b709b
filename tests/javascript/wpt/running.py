"""A page runs in a fresh instance of the engine; what its tests said comes out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from model.capabilities import WorkerEnv
from tests.javascript.harness import Refused, tenant

#: As the harness counts them.
_STATUSES: Final = ("PASS", "FAIL", "TIMEOUT", "NOTRUN", "PRECONDITION_FAILED")
#: Pages are larger than any event: this is no test of limits.
_LIMITS: Final = {"cpu_ms": 60_000, "operations": 1_000_000, "subrequests": 1_000}


@dataclass(frozen=True, slots=True)
class Result:
    name: str
    status: str
    message: str


@dataclass(frozen=True, slots=True)
class Run:
    """`error` is why a page did not come to its end; its tests may be all the same."""

    results: tuple[Result, ...]
    error: str = ""

    @property
    def passed(self) -> int:
        return sum(result.status == "PASS" for result in self.results)


async def run(script: str) -> Run:
    try:
        worker = tenant(script, kind="script", env=WorkerEnv(), limits=_LIMITS)
    except Refused as refused:
        return Run((), str(refused))
    answer = await worker.get()
    if answer.error is not None:
        return Run((), answer.error)
    told = json.loads(answer.body)
    results = tuple(Result(name, _STATUSES[status], message or "") for name, status, message in told["tests"])
    return Run(results, "" if told["status"] == 0 else f"harness status {told['status']}: {told['message']}")
