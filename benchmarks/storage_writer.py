"""One process of `benchmarks.storage.writers`: durable puts by 16 writers for two seconds from a given moment."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Final

from model.capabilities import KvEntry
from storage.database import Database
from storage.kv_store import KvStore, kv_migrations

_FOR_S: Final = 2.0
_WRITERS: Final = 16


async def write(path: Path, start: float, name: str) -> dict[str, float]:
    database = Database.open(path, kv_migrations())
    store = KvStore(database)
    await asyncio.sleep(max(0.0, start - time.time()))
    until = time.monotonic() + _FOR_S
    puts, worst = 0, 0.0

    async def writer(number: int) -> None:
        nonlocal puts, worst
        while (began := time.monotonic()) < until:
            await store.put("n", f"{name}-{number}-{puts % 1000}", KvEntry(b"v" * 100))
            puts += 1
            worst = max(worst, time.monotonic() - began)

    await asyncio.gather(*(writer(number) for number in range(_WRITERS)))
    database.close()
    return {"puts": puts, "worst_ms": worst * 1000}


if __name__ == "__main__":
    found = asyncio.run(write(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3]))
    sys.stdout.write(json.dumps(found))
