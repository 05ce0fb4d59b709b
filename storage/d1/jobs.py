"""What one process may use for databases, and what waits for one of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from model.capabilities import Charge
from storage.d1.connection import D1Connection
from storage.d1.guard import Asker
from storage.d1.leased_database import LeasedDatabase


@dataclass(frozen=True, slots=True)
class D1Room:
    """What one process may use. Each open database holds 4 descriptors: file, log, index, lock."""

    open_databases: int = 32
    threads: int = 8
    #: Of one tenant at once.
    threads_a_tenant: int = 2
    waiting_a_database: int = 100
    waiting: int = 2_000
    wait_s: float = 30.0

    @property
    def descriptors(self) -> int:
        return 4 * self.open_databases


@dataclass(slots=True)
class Job:
    work: Callable[[D1Connection, Asker], Any]
    tenant: str
    future: asyncio.Future[Any]
    since: float
    room: tuple[int, str] | None
    charge: Charge
    leased: LeasedDatabase | None
    #: Of the thread that did it.
    cpu_ns: int = 0
    asker: Asker = field(default_factory=Asker)


class Served:
    __slots__ = ("connection", "id", "jobs", "running")

    def __init__(self, database_id: str) -> None:
        self.id = database_id
        self.jobs: deque[Job] = deque()
        self.running: Job | None = None
        #: Touched by the thread that runs, and by the loop while none does.
        self.connection: D1Connection | None = None
