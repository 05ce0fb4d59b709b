"""KV namespaces, queues and consumers: what exists and whose it is; contents are in files of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from model.queues import ConsumerSettings
from model.scripts import ScriptRef
from storage.changes import record_change
from storage.control_failures import ChangeRefused, Rule
from storage.control_records import (
    ConsumerRow,
    KvNamespaceRecord,
    Owner,
    QueueRow,
    Read,
    decode_script,
    describe,
    namespace_key,
    new_id,
    to_consumer,
    to_kv_namespace,
    to_queue,
    to_ref,
)
from storage.database import Database, Transaction
from storage.migrations import load_queries
from storage.namespace_records import require_namespace
from storage.resource_removal import kv_namespace_missing, queue_missing, remove_resource
from storage.script_removal import script_missing
from storage.tenant_quotas import Quota
from storage.tenant_room import require_room

#: (order, descending) → the query's name.
_KV_ORDERS: Final = {
    ("title", False): "kv_by_title",
    ("title", True): "kv_by_title_desc",
    ("id", False): "kv_by_id",
    ("id", True): "kv_by_id_desc",
}


class KvNamespaceRecords:
    """Titles are unique."""

    def __init__(self, database: Database, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._now_ms = now_ms
        self._sql = load_queries("control")

    def get(self, namespace_id: str) -> KvNamespaceRecord:
        """Raises ChangeRefused: kv_namespace_missing."""
        rows = self._database.read(self._sql["kv_namespace"], (namespace_id,))
        if not rows:
            raise kv_namespace_missing(namespace_id)
        return to_kv_namespace(rows[0])

    async def page(
        self, order: str, descending: bool, limit: int, offset: int
    ) -> tuple[list[KvNamespaceRecord], int]:
        """`order` is "title" or "id"."""
        rows = await self._database.read_in_thread(self._sql[_KV_ORDERS[order, descending]], (limit, offset))
        total = self._database.read(self._sql["count_kv_namespaces"])[0][0]
        return [to_kv_namespace(row) for row in rows], total

    async def create(self, title: str, owner: Owner) -> KvNamespaceRecord:
        """Raises ChangeRefused: kv_title_exists, namespace_missing, quota_exceeded, tenant_leaving."""
        record = KvNamespaceRecord(new_id(), title, owner, self._now_ms())

        def work(tx: Transaction) -> None:
            _require_owner(tx.execute, owner)
            require_room(tx.execute, owner, Quota.KV_NAMESPACES)
            self._require_free(tx.execute, title)
            tx.execute(
                self._sql["insert_kv_namespace"],
                (record.id, title, owner.tenant, owner.namespace, record.created_at_ms),
            )

        await self._database.write(work)
        return record

    async def rename(self, namespace_id: str, title: str) -> KvNamespaceRecord:
        """Raises ChangeRefused: kv_namespace_missing, kv_title_exists."""

        def work(tx: Transaction) -> KvNamespaceRecord:
            self._require_free(tx.execute, title, namespace_id)
            tx.execute(self._sql["rename_kv_namespace"], (namespace_id, title))
            if tx.changes() == 0:
                raise kv_namespace_missing(namespace_id)
            return to_kv_namespace(tx.execute(self._sql["kv_namespace"], (namespace_id,))[0])

        return await self._database.write(work)

    async def delete(self, namespace_id: str, *, force: bool) -> None:
        """Its keys are still to be removed: `PendingDeletions`. Raises ChangeRefused: …_missing, …_in_use."""
        await self._database.write(lambda tx: remove_resource(tx, "kv", namespace_id, force=force))

    def _require_free(self, read: Read, title: str, but: str = "") -> None:
        rows = read(self._sql["kv_title"], (title,))
        if rows and rows[0][0] != but:
            raise ChangeRefused(
                Rule.KV_TITLE_EXISTS,
                f"a KV namespace with the title {title!r} exists already: {rows[0][0]}",
                "title",
            )


class QueueRecords:
    """Names are unique, and may change: bindings and consumers hold the id."""

    def __init__(self, database: Database, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._now_ms = now_ms
        self._sql = load_queries("control")

    def get(self, queue_id: str) -> QueueRow:
        """Raises ChangeRefused: queue_missing."""
        return self._get(self._database.read, queue_id)

    def named(self, name: str) -> QueueRow | None:
        rows = self._database.read(self._sql["queue_named"], (name,))
        return to_queue(rows[0]) if rows else None

    async def page(self, limit: int, offset: int) -> tuple[list[QueueRow], int]:
        rows = await self._database.read_in_thread(self._sql["queues"], (limit, offset))
        return [to_queue(row) for row in rows], self._database.read(self._sql["count_queues"])[0][0]

    async def create(self, name: str, owner: Owner) -> QueueRow:
        """Raises ChangeRefused: queue_exists, namespace_missing, quota_exceeded, tenant_leaving."""
        now = self._now_ms()
        row = QueueRow(new_id(), name, owner, now, now)

        def work(tx: Transaction) -> None:
            _require_owner(tx.execute, owner)
            require_room(tx.execute, owner, Quota.QUEUES)
            self._require_free(tx.execute, name)
            tx.execute(self._sql["insert_queue"], (row.id, name, owner.tenant, owner.namespace, now))

        await self._database.write(work)
        return row

    async def rename(self, queue_id: str, name: str) -> QueueRow:
        """Raises ChangeRefused: queue_missing, queue_exists."""
        now = self._now_ms()

        def work(tx: Transaction) -> QueueRow:
            self._require_free(tx.execute, name, queue_id)
            tx.execute(self._sql["rename_queue"], (queue_id, name, now))
            record_change(tx, "consumer", queue_id)
            return self._get(tx.execute, queue_id)

        return await self._database.write(work)

    async def delete(self, queue_id: str, *, force: bool) -> None:
        """Its messages are still to be removed: `PendingDeletions`. Raises ChangeRefused: …_missing, …_in_use."""
        await self._database.write(lambda tx: remove_resource(tx, "queue", queue_id, force=force))

    def consumers(self, queue_id: str) -> list[ConsumerRow]:
        """None or one. Raises ChangeRefused: queue_missing."""
        self._get(self._database.read, queue_id)
        return [to_consumer(row) for row in self._database.read(self._sql["consumers"], (queue_id,))]

    async def put_consumer(
        self,
        queue_id: str,
        consumer_id: str | None,
        script: ScriptRef | None,
        settings: ConsumerSettings,
        dead_letter_queue: str | None,
    ) -> ConsumerRow:
        """Make one (`consumer_id` None) or replace it; one that pulls, without `script`. `dead_letter_queue` is a name;
        its id in `settings` is not read.

        Raises ChangeRefused: queue_missing, consumer_missing, consumer_exists, script_missing and its like,
        handler_missing.
        """
        now, new = self._now_ms(), new_id()

        def work(tx: Transaction) -> ConsumerRow:
            queue = self._get(tx.execute, queue_id)
            present = [to_consumer(row) for row in tx.execute(self._sql["consumers"], (queue_id,))]
            if consumer_id is None and present:
                raise ChangeRefused(
                    Rule.CONSUMER_EXISTS,
                    f"queue {queue.name!r} has a consumer already, {present[0]}: replace or delete that one",
                )
            if consumer_id is not None and consumer_id not in [row.id for row in present]:
                raise _consumer_missing(consumer_id)
            if script is not None:
                self._require_handler(tx.execute, script)
            dead_letter_id = self._dead_letter_id(tx.execute, queue, dead_letter_queue)
            tx.execute(
                self._sql["put_consumer"],
                (
                    consumer_id or new,
                    queue_id,
                    "" if script is None else namespace_key(script.namespace),
                    "" if script is None else script.script,
                    settings.batch_size,
                    settings.max_wait_ms,
                    settings.max_retries,
                    settings.retry_delay_s,
                    dead_letter_id,
                    now,
                ),
            )
            tx.execute(
                self._sql["put_consumer_settings"],
                (consumer_id or new, settings.max_concurrency, settings.visibility_timeout_ms),
            )
            record_change(tx, "consumer", queue_id)
            return to_consumer(tx.execute(self._sql["consumers"], (queue_id,))[0])

        return await self._database.write(work)

    def consumer(self, queue_id: str, consumer_id: str) -> ConsumerRow:
        """Raises ChangeRefused: queue_missing, consumer_missing."""
        for row in self.consumers(queue_id):
            if row.id == consumer_id:
                return row
        raise _consumer_missing(consumer_id)

    def pull_consumer(self, queue_id: str) -> ConsumerRow:
        """Raises ChangeRefused: queue_missing, pull_consumer_missing."""
        for row in self.consumers(queue_id):
            if row.script is None:
                return row
        raise ChangeRefused(
            Rule.PULL_CONSUMER_MISSING,
            "messages are pulled from a queue whose consumer is of type http_pull; this one has none: make it, or"
            " let its worker consume",
        )

    def producers(self, queue_id: str) -> list[ScriptRef]:
        """The scripts that have the queue as a binding, at most 100."""
        rows = self._database.read(self._sql["queue_producers"], (queue_id,))
        return [to_ref(namespace, script) for namespace, script in rows]

    async def delete_consumer(self, queue_id: str, consumer_id: str) -> None:
        """Raises ChangeRefused: queue_missing, consumer_missing."""

        def work(tx: Transaction) -> None:
            self._get(tx.execute, queue_id)
            rows = tx.execute(self._sql["consumer"], (consumer_id,))
            if not rows or rows[0][0] != queue_id:
                raise _consumer_missing(consumer_id)
            tx.execute(self._sql["delete_consumer"], (consumer_id,))
            record_change(tx, "consumer", queue_id)

        await self._database.write(work)

    def _get(self, read: Read, queue_id: str) -> QueueRow:
        rows = read(self._sql["queue"], (queue_id,))
        if not rows:
            raise queue_missing(queue_id)
        return to_queue(rows[0])

    def _require_free(self, read: Read, name: str, but: str = "") -> None:
        rows = read(self._sql["queue_named"], (name,))
        if rows and rows[0][0] != but:
            raise ChangeRefused(Rule.QUEUE_EXISTS, f"a queue {name!r} exists already", "queue_name")

    def _require_handler(self, read: Read, script: ScriptRef) -> None:
        if script.namespace is not None:
            require_namespace(read, script.namespace, "dispatch_namespace")
        rows = read(self._sql["script"], (namespace_key(script.namespace), script.script))
        if not rows:
            raise script_missing(script, "script_name")
        if "queue" not in decode_script(rows[0][0]).handlers:
            raise ChangeRefused(
                Rule.HANDLER_MISSING,
                f"script_name: {describe(script)} exports no `queue` handler; deploy it with one first",
                "script_name",
            )

    def _dead_letter_id(self, read: Read, queue: QueueRow, name: str | None) -> str | None:
        if name is None:
            return None
        rows = read(self._sql["queue_named"], (name,))
        if not rows:
            raise queue_missing(name, "dead_letter_queue")
        if rows[0][0] == queue.id:
            raise ChangeRefused(
                Rule.QUEUE_MISSING,
                f"dead_letter_queue: {name!r} is the queue itself; messages would go round for ever",
                "dead_letter_queue",
            )
        return to_queue(rows[0]).id


class PendingDeletions:
    """Contents of deleted KV namespaces and queues that are still on the disk; kept until they are gone."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = load_queries("control")

    def all(self) -> list[tuple[str, str]]:
        """(kind, id): "kv", "queue" or "d1"."""
        return [(row[0], row[1]) for row in self._database.read(self._sql["pending_deletions"])]

    async def forget(self, kind: str, resource_id: str) -> None:
        await self._database.write(
            lambda tx: tx.execute(self._sql["forget_pending_deletion"], (kind, resource_id))
        )


def _require_owner(read: Read, owner: Owner) -> None:
    if owner.namespace is not None:
        require_namespace(read, owner.namespace, "namespace")


def _consumer_missing(consumer_id: str) -> ChangeRefused:
    return ChangeRefused(Rule.CONSUMER_MISSING, f"this queue has no consumer {consumer_id[:80]!r}")
