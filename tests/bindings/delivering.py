"""A process that delivers: `python -m tests.bindings.delivering CONFIG`, which `start` makes.

It writes `ready PID`, and a line for each message that its consumer begins and ends: `begin|end PID BODY
ATTEMPTS`. Mode `hang` never ends a batch; `work` takes a moment for each, `slow` a long one.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from bindings.delivery_verdict import ALL_ACKNOWLEDGED, BatchVerdict, QueueBatch
from bindings.queue_delivery import DeliverySettings, QueueDelivery
from cli.stores import address_as_config, address_from_config
from model.identity import ScriptName
from model.queues import ConsumerRecord, ConsumerSettings
from model.scripts import ScriptRef
from storage.database import Database
from storage.postgres.address import DatabaseAddress
from storage.queue_protocol import QueueStorage
from storage.queue_store import QueueStore, queue_migrations
from tests.support.postgres_stores import PgMachine

ROOT = Path(__file__).parents[2]
SETTINGS: Final = ConsumerSettings(batch_size=5, max_wait_ms=0, max_retries=3, dead_letter_queue_id="dlq")
_TAKES_S: Final = {"hang": 3600.0, "work": 0.02, "slow": 0.4}


def start(
    where: Path | DatabaseAddress,
    journal: Path,
    mode: str,
    lease_s: float,
    settings: ConsumerSettings = SETTINGS,
) -> subprocess.Popen[bytes]:
    """`where`: SQLite's file, or PostgreSQL's address. Its consumer is of queue "q"."""
    config = {
        "file": str(where) if isinstance(where, Path) else None,
        "address": None if isinstance(where, Path) else address_as_config(where),
        "journal": str(journal),
        "mode": mode,
        "lease_s": lease_s,
        "settings": settings,
    }
    arguments = msgspec.json.encode(config).decode()
    return subprocess.Popen([sys.executable, "-m", "tests.bindings.delivering", arguments], cwd=ROOT)


@asynccontextmanager
async def opened(where: Path | DatabaseAddress) -> AsyncIterator[QueueStorage]:
    if isinstance(where, Path):
        database = Database.open(where, queue_migrations())
        yield QueueStore(database)
        database.close()
    else:
        async with PgMachine(where) as machine:
            yield machine.queues


async def deliver(config: dict[str, Any]) -> None:
    out = os.open(config["journal"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    settings = msgspec.convert(config["settings"], ConsumerSettings)
    consumer = ConsumerRecord("q", "orders", ScriptRef(None, ScriptName("consumer")), settings)

    async def run_batch(consumer: ConsumerRecord, batch: QueueBatch) -> BatchVerdict:
        for message in batch.messages:
            os.write(out, b"begin %d %s %d\n" % (os.getpid(), message.body, message.attempts))
        await asyncio.sleep(_TAKES_S[config["mode"]])
        for message in batch.messages:
            os.write(out, b"end %d %s %d\n" % (os.getpid(), message.body, message.attempts))
        return ALL_ACKNOWLEDGED

    address = address_from_config(config["address"])
    async with opened(Path(config["file"]) if address is None else address) as store:
        lease_s = config["lease_s"]
        delivery = DeliverySettings(lease_s=lease_s, renew_s=lease_s / 6, poll_s=0.02)
        os.write(out, b"ready %d\n" % os.getpid())
        await QueueDelivery(store, lambda: [consumer], run_batch, delivery).run()


if __name__ == "__main__":
    asyncio.run(deliver(msgspec.json.decode(sys.argv[1])))
