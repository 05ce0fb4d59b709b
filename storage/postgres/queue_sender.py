"""Group commit of a process's sends: what waits while one transaction is on its way goes with the next.

A send may be repeated: its messages' ids were made before the first try, and one that is there is not added again.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from model.capabilities import QueueMessage
from model.errors import OperationError
from model.queues import QueueSettings
from storage.failures import StorageBusy, StorageError, StorageLost
from storage.postgres.connection import PgDatabase, PgTransaction
from storage.queue_protocol import Backlog, backlog_full, deleted_queue

GROUP_ROWS: Final = 500
GROUP_BYTES: Final = 1 << 20


@dataclass(slots=True)
class _Send:
    queue_id: str
    ids: Sequence[uuid.UUID]
    messages: Sequence[QueueMessage]
    now_ms: int
    size: int
    done: asyncio.Future[None]


class QueueSender:
    """Use from one running event loop."""

    def __init__(
        self, database: PgDatabase, sql: Mapping[str, str], defaults: QueueSettings, backlog_bytes: int
    ) -> None:
        """`defaults`: of a queue for which nothing was set."""
        self._database = database
        self._sql = sql
        self._defaults = defaults
        self._backlog_bytes = backlog_bytes
        self._waiting: deque[_Send] = deque()
        self._running: asyncio.Task[None] | None = None

    async def send(self, queue_id: str, messages: Sequence[QueueMessage], now_ms: int) -> list[str]:
        """Their ids. Once begun it is done, whatever becomes of who waits. Raises OperationError, StorageError."""
        loop = asyncio.get_running_loop()
        ids = [uuid.uuid4() for _ in messages]
        size = sum(len(message.body) for message in messages)
        send = _Send(queue_id, ids, messages, now_ms, size, loop.create_future())
        self._waiting.append(send)
        if self._running is None:
            self._running = loop.create_task(self._run())
        await send.done
        return [message_id.hex for message_id in ids]

    async def close(self) -> None:
        """What was begun is finished first."""
        if self._running is not None:
            await asyncio.gather(self._running, return_exceptions=True)

    async def _run(self) -> None:
        try:
            while self._waiting:
                group: list[_Send] = []
                rows = size = 0
                while self._waiting and (not group or (rows < GROUP_ROWS and size < GROUP_BYTES)):
                    group.append(self._waiting.popleft())
                    rows += len(group[-1].messages)
                    size += group[-1].size
                await self._commit(group)
        finally:
            self._running = None

    async def _commit(self, group: Sequence[_Send]) -> None:
        try:
            refused = await self._database.write(lambda tx: self._apply(tx, group), repeatable=True)
        except Exception as error:
            is_ours = isinstance(error, StorageError) and not isinstance(error, StorageLost | StorageBusy)
            if is_ours and len(group) > 1:
                for send in group:  # one that the engine refuses must not take its neighbours with it
                    await self._commit([send])
                return
            for send in group:
                if not send.done.done():
                    send.done.set_exception(
                        error.again()
                        if isinstance(error, StorageError)
                        else StorageError(f"a bug: {error!r}")
                    )
            return
        for number, send in enumerate(group):
            if send.done.done():
                continue
            if number in refused:
                send.done.set_exception(refused[number])
            else:
                send.done.set_result(None)

    async def _apply(self, tx: PgTransaction, group: Sequence[_Send]) -> dict[int, OperationError]:
        """Which of the group were refused, and why."""
        queues = sorted({send.queue_id for send in group})
        await tx.execute(self._sql["share_queues"], sorted(map(turn_of, queues)))
        standings = await tx.fetch(self._sql["standings"], queues)
        deleted = {row[0] for row in standings if row[1]}
        held = {row[0]: Backlog(row[2], row[3]) for row in standings}
        settings = {
            row[0]: self._defaults if row[4] is None else QueueSettings(False, row[4], row[5])
            for row in standings
        }
        refused: dict[int, OperationError] = {}
        taken: list[_Send] = []
        for number, send in enumerate(group):
            backlog = held[send.queue_id]
            if send.queue_id in deleted:
                refused[number] = deleted_queue()
            elif backlog.bytes + send.size > self._backlog_bytes:
                refused[number] = backlog_full(backlog, self._backlog_bytes)
            else:
                held[send.queue_id] = Backlog(
                    backlog.messages + len(send.messages), backlog.bytes + send.size
                )
                taken.append(send)
        rows = [
            (message_id, send, message)
            for send in taken
            for message_id, message in zip(send.ids, send.messages, strict=True)
        ]
        if not rows:
            return refused
        ready = [
            send.now_ms
            + 1000
            * (settings[send.queue_id].delivery_delay_s if message.delay_s is None else message.delay_s)
            for _, send, message in rows
        ]
        await tx.execute(
            self._sql["send"],
            [message_id for message_id, _, _ in rows],
            [send.queue_id for _, send, _ in rows],
            [send.now_ms for _, send, _ in rows],
            [send.now_ms + settings[send.queue_id].retention_s * 1000 for _, send, _ in rows],
            ready,
            [message.content_type for _, _, message in rows],
            [message.body for _, _, message in rows],
        )
        return refused


def turn_of(queue_id: str) -> int:
    """The advisory lock of a queue: two that share one only wait a little longer."""
    digest = hashlib.blake2b(b"queue " + queue_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)
