"""Telling other processes and machines that something changed: NOTIFY, and a turn now and then without it.

A topic says only that it is worth a look; what changed is read from tables. A lost notification, a connection
that was lost, a pooler between (which has no LISTEN): each costs a turn's wait, nothing else. NOTIFY holds a lock
of the whole server while it commits, so it goes in a statement of its own after the work's commit, and what is
told within a few milliseconds goes together.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from storage.failures import StorageError
from storage.postgres.connection import PgDatabase, end
from storage.postgres.failures import FOREIGN

LOG = logging.getLogger("tenantry.postgres")

#: Listeners look by themselves so often: half of the second within which everybody must have seen a change.
TURN_S: Final = 0.4
GATHER_S: Final = 0.002
_CHANNEL: Final = "tenantry"


class PgSignals:
    """`start` it in the running loop, `close` it there. `on` comes first."""

    def __init__(self, database: PgDatabase, turn_s: float = TURN_S) -> None:
        self._database = database
        self._turn_s = turn_s
        self._listeners: dict[str, list[Callable[[], None]]] = {}
        self._told: set[str] = set()
        self._telling: asyncio.Task[None] | None = None
        self._task: asyncio.Task[None] | None = None

    def on(self, topic: str, look: Callable[[], None]) -> None:
        """Call `look`, on the loop, when the topic was told anywhere, and at each turn. It only wakes somebody."""
        self._listeners.setdefault(topic, []).append(look)

    def tell(self, topic: str) -> None:
        """After a commit. Ours are woken at once; others' as soon as the server passes it on."""
        for look in self._listeners.get(topic, ()):
            look()
        self._told.add(topic)
        if self._telling is None or self._telling.done():
            self._telling = asyncio.get_running_loop().create_task(self._tell())

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._listen())

    async def close(self) -> None:
        for task in (self._task, self._telling):
            if task is not None:
                await end(task)

    async def _tell(self) -> None:
        while self._told:
            topics, self._told = sorted(self._told), set()
            try:
                await self._database.fetch(
                    "SELECT pg_notify($1, topic) FROM unnest($2::text[]) topic", _CHANNEL, topics
                )
            except StorageError as error:
                # Others see it at their turn.
                LOG.debug("nobody was notified: %s", error.detail)
            await asyncio.sleep(GATHER_S)

    async def _listen(self) -> None:
        while True:
            connection = None if self._database.address.pooled else await self._connected()
            try:
                while connection is None or not connection.is_closed():
                    self._look(None)
                    await asyncio.sleep(self._turn_s)
                    if connection is None and not self._database.address.pooled:
                        break
            finally:
                if connection is not None:
                    connection.terminate()

    async def _connected(self) -> Any | None:
        """A connection that listens, or None while there is none."""
        try:
            connection = await self._database.connect_alone()
        except StorageError:
            return None  # said by the database itself
        try:
            await connection.add_listener(_CHANNEL, self._heard)
        except BaseException as error:
            connection.terminate()
            if isinstance(error, FOREIGN):
                return None
            raise  # cancelled: it is nobody's then
        return connection

    def _heard(self, connection: object, pid: int, channel: str, topic: object) -> None:
        self._look(str(topic))

    def _look(self, topic: str | None) -> None:
        """None: whatever was missed."""
        for name, listeners in self._listeners.items():
            if topic is None or topic == name:
                for look in listeners:
                    look()
