"""Processes that send and deliver, to be killed: `python -m tests.support.queue_child WHAT DATABASE JOURNAL NAME`.

WHAT is `send` or `deliver`. The journal's lines are `WORD TIME NAME BODY ATTEMPTS`, TIME by the clock that all
processes of the machine share: `sent` once a send is acknowledged, `begin` and `end` around a message's delivery. A
body that begins with "deadly" kills whoever delivers it, one with "failing" fails.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from bindings.delivery_verdict import ALL_ACKNOWLEDGED, FAILED, BatchVerdict, QueueBatch
from bindings.queue_delivery import DeliverySettings, QueueDelivery
from model.capabilities import QueueMessage
from model.identity import ScriptName
from model.queues import ConsumerRecord, ConsumerSettings
from model.scripts import ScriptRef
from storage.database import Database
from storage.queue_store import QueueStore, queue_migrations

ROOT: Final = Path(__file__).parents[2]
#: Far above what a process may be held up by a busy machine: a lease that is not renewed in time is no lease.
LEASE_S: Final = 3.0
CONSUMERS: Final = (
    ConsumerRecord(
        "orders",
        "orders",
        ScriptRef(None, ScriptName("consumer")),
        ConsumerSettings(batch_size=5, max_wait_ms=0, max_retries=100, dead_letter_queue_id="dead"),
    ),
    ConsumerRecord(
        "poisoned",
        "poisoned",
        ScriptRef(None, ScriptName("consumer")),
        ConsumerSettings(batch_size=1, max_wait_ms=0, max_retries=1, dead_letter_queue_id="dead"),
    ),
)


def start(what: str, database: Path, journal: Path, name: str) -> subprocess.Popen[bytes]:
    arguments = [what, str(database), str(journal), name]
    return subprocess.Popen([sys.executable, "-m", "tests.support.queue_child", *arguments], cwd=ROOT)


class Journal:
    def __init__(self, path: str, name: str) -> None:
        self._out = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._name = name

    def write(self, word: str, body: str, attempts: int = 0) -> None:
        os.write(self._out, f"{word} {time.monotonic():.6f} {self._name} {body} {attempts}\n".encode())


async def send(store: QueueStore, journal: Journal, name: str) -> None:
    for number in itertools.count():
        body = f"{name}-{number}"
        await store.send("orders", [QueueMessage(body.encode(), "text")])
        journal.write("sent", body)
        await asyncio.sleep(0.005)


async def deliver(store: QueueStore, journal: Journal) -> None:
    async def run_batch(consumer: ConsumerRecord, batch: QueueBatch) -> BatchVerdict:
        for message in batch.messages:
            journal.write("begin", message.body.decode(), message.attempts)
            if message.body.startswith(b"deadly"):
                os.kill(os.getpid(), signal.SIGKILL)
        await asyncio.sleep(0.02)
        for message in batch.messages:
            journal.write("end", message.body.decode(), message.attempts)
        is_failing = any(message.body.startswith(b"failing") for message in batch.messages)
        return FAILED if is_failing else ALL_ACKNOWLEDGED

    settings = DeliverySettings(lease_s=LEASE_S, renew_s=LEASE_S / 6, poll_s=0.02)
    await QueueDelivery(store, lambda: CONSUMERS, run_batch, settings).run()


def main(what: str, database: str, journal: str, name: str) -> None:
    store = QueueStore(Database.open(Path(database), queue_migrations()))
    out = Journal(journal, name)
    asyncio.run(send(store, out, name) if what == "send" else deliver(store, out))


if __name__ == "__main__":
    main(*sys.argv[1:])
