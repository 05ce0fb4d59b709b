"""A process that delivers: `python -m tests.bindings.delivering DATABASE JOURNAL MODE LEASE_S`.

It writes `ready PID`, and a line for each message that its consumer begins and ends: `begin|end PID BODY
ATTEMPTS`. MODE `hang` never ends a batch; `work` takes a moment for each.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from bindings.delivery_verdict import ALL_ACKNOWLEDGED, BatchVerdict, QueueBatch
from bindings.queue_delivery import DeliverySettings, QueueDelivery
from model.identity import ScriptName
from model.queues import ConsumerRecord, ConsumerSettings
from model.scripts import ScriptRef
from storage.database import Database
from storage.queue_store import QueueStore, queue_migrations

ROOT = Path(__file__).parents[2]
CONSUMER = ConsumerRecord(
    "q",
    "orders",
    ScriptRef(None, ScriptName("consumer")),
    ConsumerSettings(batch_size=5, max_wait_ms=0, max_retries=3, dead_letter_queue_id="dlq"),
)


def start(database: Path, journal: Path, mode: str, lease_s: float) -> subprocess.Popen[bytes]:
    arguments = [str(database), str(journal), mode, str(lease_s)]
    return subprocess.Popen([sys.executable, "-m", "tests.bindings.delivering", *arguments], cwd=ROOT)


async def deliver(database: Path, journal: Path, mode: str, lease_s: float) -> None:
    out = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def run_batch(consumer: ConsumerRecord, batch: QueueBatch) -> BatchVerdict:
        for message in batch.messages:
            os.write(out, b"begin %d %s %d\n" % (os.getpid(), message.body, message.attempts))
        await asyncio.sleep(3600 if mode == "hang" else 0.02)
        for message in batch.messages:
            os.write(out, b"end %d %s %d\n" % (os.getpid(), message.body, message.attempts))
        return ALL_ACKNOWLEDGED

    store = QueueStore(Database.open(database, queue_migrations()))
    settings = DeliverySettings(lease_s=lease_s, renew_s=lease_s / 6, poll_s=0.02)
    os.write(out, b"ready %d\n" % os.getpid())
    await QueueDelivery(store, lambda: [CONSUMER], run_batch, settings).run()


if __name__ == "__main__":
    asyncio.run(deliver(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], float(sys.argv[4])))
