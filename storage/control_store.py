"""Control's state in one SQLite file: what the data plane looks up, and the records that the API changes.

Every process opens the file; only control writes to it. A look-up is one indexed point read, on the calling
thread. Each change is one transaction that also adds to the change log (`storage.changes`), so that no
process serves what it cached longer than until its next compare of the sequence. Keys in the log: "route" (the
pattern), "script" and "secret" (`namespace/name` or `/name`), "policy" (`namespace/layer/name`, `namespace//` for
all of a namespace), "material" (`namespace/name`, `namespace/` for all), "namespace" (its name), "consumer" (the
queue's id), "schedule" (`namespace/name`), "tenant" (its quotas:
`namespace/tenant`, `/` for every tenant's). The namespace is "" for plain scripts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, cast

from model.clock import unix_ms
from model.identity import NamespaceName
from model.queues import ConsumerRecord
from model.scripts import HostnameRoutes, OutboundWorker, ScriptRef, ScriptVersion
from storage.changes import ChangeSequence, changes_since, store_sequence
from storage.control_records import decode_hostname, decode_script, to_consumer
from storage.d1_records import D1Records
from storage.database import Database, Replication, Transaction
from storage.material_records import MaterialRecords
from storage.migrations import Migrations, load_queries
from storage.namespace_records import NamespaceRecords
from storage.outbound_workers import NONE, from_columns, outbound_workers
from storage.policy_records import PolicyRecords
from storage.resource_records import KvNamespaceRecords, PendingDeletions, QueueRecords
from storage.route_records import RouteRecords
from storage.schedule_records import ScheduleRecords
from storage.script_records import ScriptRecords
from storage.secret_records import SecretRecords
from storage.tenant_records import TenantRecords

_NO_OUTBOUND: Final = list(NONE)
_MAX_SETTINGS: Final = 1_000


@dataclass(frozen=True, slots=True)
class _Settings:
    """What a dispatch namespace says of its scripts."""

    trusted: bool = False
    outbound_worker: OutboundWorker | None = None


_PLAIN: Final = _Settings()


def control_migrations() -> Migrations:
    """What `Database.open` needs for the file that a ControlStore stands on."""
    return Migrations.load("changes", "control", "tenants")


class ControlStore:
    """Implements model.capabilities.RouteStore. Use from one event loop; StorageError when the disk fails."""

    def __init__(
        self, database: Database, sequence: ChangeSequence, now_ms: Callable[[], int] = unix_ms
    ) -> None:
        self.database = database
        self._sequence = sequence
        self._sql = load_queries("control")
        self._hostname_sql = self._sql["hostname_routes"]
        self._script_sql = self._sql["script"]
        self._settings_sql = self._sql["namespace_settings"]
        #: What scripts have from their namespaces, as it was at one number of the sequence.
        self._settings: dict[str, _Settings] = {}
        self._settings_at = -1
        self.namespaces = NamespaceRecords(database, now_ms)
        self.scripts = ScriptRecords(database, now_ms)
        self.schedules = ScheduleRecords(database, now_ms)
        self.secrets = SecretRecords(database, now_ms)
        self.routes = RouteRecords(database, now_ms)
        self.kv_namespaces = KvNamespaceRecords(database, now_ms)
        self.queues = QueueRecords(database, now_ms)
        self.d1_databases = D1Records(database, now_ms)
        self.policies = PolicyRecords(database, now_ms)
        self.materials = MaterialRecords(database, now_ms)
        self.pending_deletions = PendingDeletions(database)
        self.tenants = TenantRecords(database, now_ms)

    @staticmethod
    def open(
        path: Path,
        sequence: ChangeSequence,
        *,
        read_only: bool = False,
        replication: Replication | None = None,
    ) -> ControlStore:
        """`path` is `DATA/control.db`; the sequence is stored after each commit of this process. `replication`: it
        is one of several machines'.
        """

        def after_commit(tx: Transaction) -> None:
            store_sequence(tx, sequence)

        hook = None if read_only else after_commit
        return ControlStore(
            Database.open(
                path, control_migrations(), read_only=read_only, on_commit=hook, replication=replication
            ),
            sequence,
        )

    def hostname_routes(self, pattern: str) -> HostnameRoutes | None:
        rows = self.database.read(self._hostname_sql, (pattern,))
        return decode_hostname(cast("bytes", rows[0][0])) if rows else None

    def script(self, ref: ScriptRef) -> ScriptVersion | None:
        """With `trusted` and `outbound_worker` as its namespace says now."""
        namespace = ref.namespace or ""
        settings = self._namespace_settings(namespace)
        rows = self.database.read(self._script_sql, (namespace, ref.script))
        if not rows:
            return None
        version = decode_script(cast("bytes", rows[0][0]))
        if settings is not _PLAIN:
            version = replace(version, trusted=settings.trusted, outbound_worker=settings.outbound_worker)
        return version

    def _namespace_settings(self, name: str) -> _Settings:
        """One read for all scripts of a namespace while nothing changes: in a join it costs each of them more than
        its own row does.
        """
        # Loaded before the read: a change that comes in between is seen at the next compare.
        sequence = self.sequence()
        if sequence != self._settings_at or len(self._settings) >= _MAX_SETTINGS:
            self._settings.clear()
            self._settings_at = sequence
        found = self._settings.get(name)
        if found is None:
            found = _PLAIN
            for trusted, *outbound in self.database.read(self._settings_sql, (name,)) if name else ():
                if trusted or outbound != _NO_OUTBOUND:
                    found = _Settings(bool(trusted), from_columns(*outbound))
            self._settings[name] = found
        return found

    def outbound_workers(self, namespace: NamespaceName | None) -> frozenset[OutboundWorker]:
        """Who stands before `namespace`, as storage.outbound_workers has it."""
        return outbound_workers(self.database.read, namespace)

    def sequence(self) -> int:
        return self._sequence.load()

    def check_sequence(self) -> bool:
        """For each process, once a second: see ChangeSequence.check."""
        return self._sequence.check(self.database.read)

    def changes_since(self, sequence: int) -> tuple[int, Sequence[tuple[str, str]] | None]:
        return changes_since(self.database.read, sequence)

    def secret_ciphertext(self, ref: ScriptRef, name: str) -> tuple[int, bytes] | None:
        """(the secret's version, what `storage.keys.seal` made of it); None when there is no such secret."""
        rows = self.database.read(self._sql["secret"], (ref.namespace or "", ref.script, name))
        return (rows[0][0], rows[0][1]) if rows else None

    def queue_consumers(self) -> list[ConsumerRecord]:
        """Every worker that consumes a queue, by queue name."""
        rows = map(to_consumer, self.database.read(self._sql["consumers"], (None,)))
        return [row.record for row in rows if row.record is not None]

    def probe(self) -> None:
        """For readiness. Raises StorageError when the file is gone, was replaced, or can't be read."""
        self.database.probe()

    def close(self) -> None:
        self.database.close()
