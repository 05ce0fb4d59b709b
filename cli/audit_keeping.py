"""The way of an audit record from the worker process that made the request to the file that control keeps.

The worker's side never waits: what finds no room is dropped and counted. Control writes in batches, and forgets
what is too old or too much.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Final

from model.clock import unix_ms
from outbound.audit import AuditRecord
from storage.audit_store import AuditRow, AuditStore
from storage.failures import StorageError

_log = logging.getLogger("tenantry.control")

#: Of the JSON that holds tags and params.
FACTS_BYTES: Final = 2 * 1024
#: An AuditRow as it travels between processes: its fields, in order.
WireRow = list[int | str]
#: Rows in one message.
ROWS_A_MESSAGE: Final = 200
#: Rows that wait for the disk; more are dropped and counted.
_MAX_WAITING: Final = 50_000
_ROWS_A_WRITE: Final = 2_000
_PRUNE_S: Final = 60.0
#: The longest text is a path, of 1,024 characters, or the facts.
_MAX_TEXT: Final = 4 * 1024
_MAX_NUMBER: Final = 2**62
_KINDS: Final = tuple(int if field.type in ("int", int) else str for field in fields(AuditRow))


def to_wire(record: AuditRecord) -> WireRow:
    """Whatever a guest put into it can be sent."""
    row: WireRow = [
        record.at_ms,
        record.namespace or "",
        record.tenant,
        record.script,
        record.ray_id,
        record.method,
        record.scheme,
        record.host,
        record.port,
        record.path,
        record.result.value,
        record.rule,
        record.layer,
        record.reason.value,
        record.policy_reason.value if record.policy_reason is not None else "",
        record.policy_version,
        record.address,
        record.status,
        record.bytes_up,
        record.bytes_down,
        record.duration_ms,
        record.redirect,
        record.retry,
        _facts(record),
    ]
    return [item if isinstance(item, int) or item.isascii() else encodable(item) for item in row]


def encodable(text: str) -> str:
    """With '?' for each half of a surrogate pair, which UTF-8 has no bytes for."""
    return text.encode("utf-8", "replace").decode()


def from_wire(value: object) -> AuditRow | None:
    """Check a row that came from a worker process; None when it is none."""
    if not isinstance(value, list | tuple) or len(value) != len(_KINDS):
        return None
    for item, kind in zip(value, _KINDS, strict=True):
        if type(item) is not kind:
            return None
        if (isinstance(item, int) and not 0 <= item < _MAX_NUMBER) or (
            isinstance(item, str) and len(item) > _MAX_TEXT
        ):
            return None
    return AuditRow(*value)


def _facts(record: AuditRecord) -> str:
    """What else a decision was made of, as JSON that has at most FACTS_BYTES; "" when there is nothing."""
    tags, hosts = list(record.tags), record.egress_hosts
    short: dict[str, object] = {}
    if record.outbound is not None:
        short["outbound"] = asdict(record.outbound)
    if not tags and not record.params and hosts is None and not short:
        return ""
    whole = {"tags": tags, "params": dict(record.params), **short}
    if hosts is not None:
        whole["egress"] = list(hosts)
    for kept in (whole, {"tags": tags, **short, "truncated": True}, {**short, "truncated": True}):
        text = json.dumps(kept, ensure_ascii=False, separators=(",", ":"))
        if len(text.encode("utf-8", "replace")) <= FACTS_BYTES:
            return text
    return '{"truncated":true}'


class AuditOutbox:
    """A worker's records on their way to control. `send` is Channel.notify of one message: False when there is no
    room just now.
    """

    def __init__(self, send: Callable[[list[WireRow]], bool], capacity: int = 10_000) -> None:
        self._send = send
        self._capacity = capacity
        self._waiting: deque[WireRow] = deque()
        #: Records that nobody will see.
        self.dropped = 0

    def add(self, record: AuditRecord) -> None:
        if len(self._waiting) >= self._capacity:
            self.dropped += 1
        else:
            self._waiting.append(to_wire(record))

    def flush(self) -> None:
        """Send what waits, as far as there is room; the rest waits for the next time."""
        waiting = self._waiting
        while waiting:
            rows = [waiting[i] for i in range(min(len(waiting), ROWS_A_MESSAGE))]
            if not self._send(rows):
                return
            for _ in rows:
                waiting.popleft()


@dataclass(frozen=True, slots=True)
class AuditRetention:
    days: float
    most_bytes: int


class AuditKeeper:
    """Control's side: `take` is a notification handler of the workers' channels."""

    def __init__(self, store: AuditStore, retention: AuditRetention) -> None:
        self._store = store
        self._retention = retention
        self._waiting: deque[AuditRow] = deque()
        self._arrived = asyncio.Event()
        #: Records that nobody will see.
        self.dropped = 0
        self._tasks: list[asyncio.Task[None]] = []

    def take(self, payload: object) -> None:
        if not isinstance(payload, list | tuple):
            return
        for value in payload:
            row = from_wire(value)
            if row is None or len(self._waiting) >= _MAX_WAITING:
                self.dropped += 1
            else:
                self._waiting.append(row)
        self._arrived.set()

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._write_forever()), loop.create_task(self._prune_forever())]

    async def close(self) -> None:
        """Write what waits, and close the store."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        while self._waiting:
            await self._write_some()
        self._store.close()

    async def _write_forever(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                await asyncio.shield(self._write_some())

    async def _write_some(self) -> None:
        rows = [self._waiting.popleft() for _ in range(min(len(self._waiting), _ROWS_A_WRITE))]
        try:
            await self._store.append(rows)
        except StorageError as error:
            self.dropped += len(rows)
            _log.error("%d audit records were lost: %s (%s)", len(rows), error.message, error.detail)

    async def _prune_forever(self) -> None:
        while True:
            older_than_ms = unix_ms() - int(self._retention.days * 86_400_000)
            try:
                await self._store.prune(older_than_ms=older_than_ms, most_bytes=self._retention.most_bytes)
            except StorageError as error:
                _log.warning("old audit records were not removed: %s (%s)", error.message, error.detail)
            await asyncio.sleep(_PRUNE_S)
