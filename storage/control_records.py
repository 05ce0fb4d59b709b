"""What control keeps, as values: the two records that the data plane reads, and the rows of the API's resources."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from model.identity import NamespaceName, ScriptName, TenantId
from model.queues import ConsumerRecord, ConsumerSettings
from model.scripts import HostnameRoutes, OutboundWorker, Route, ScriptRef, ScriptVersion, Target
from storage.transaction import Row, SqlValue

#: `Database.read` or `Transaction.execute`: rules are checked by the same code outside a change, to answer
#: early, and inside it, where they hold.
Read = Callable[[str, Sequence[SqlValue]], list[Row]]

#: More routes under one pattern than this would make each look-up of it slow.
ROUTES_PER_PATTERN: Final = 1_000
#: Where a script's traces go stands in the index of bindings, with this for its kind.
TAIL_CONSUMER: Final = "tail_consumer"

encode_script: Final[Callable[[ScriptVersion], bytes]] = msgspec.msgpack.encode
decode_script: Final = msgspec.msgpack.Decoder(ScriptVersion).decode
encode_hostname: Final[Callable[[HostnameRoutes], bytes]] = msgspec.msgpack.encode
decode_hostname: Final = msgspec.msgpack.Decoder(HostnameRoutes).decode


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a resource or a script is; both None: the account's."""

    namespace: NamespaceName | None = None
    tenant: TenantId | None = None

    def __str__(self) -> str:
        if self.tenant is None:
            return "the account"
        return f"tenant {self.tenant!r} of {_place(self.namespace)}"


ACCOUNT_OWNED: Final = Owner()


@dataclass(frozen=True, slots=True)
class NamespaceRecord:
    """One dispatch namespace."""

    id: str
    name: NamespaceName
    trusted: bool
    created_at_ms: int
    modified_at_ms: int
    script_count: int
    outbound_worker: OutboundWorker | None = None


@dataclass(frozen=True, slots=True)
class RouteRecord:
    """One route and when it was made."""

    route: Route
    created_at_ms: int


@dataclass(frozen=True, slots=True)
class HostnameRecord:
    """What was set for one hostname pattern."""

    pattern: str
    header_routes: bool
    modified_at_ms: int


@dataclass(frozen=True, slots=True)
class KvNamespaceRecord:
    """One KV namespace; its keys are in a file of their own."""

    id: str
    title: str
    owner: Owner
    created_at_ms: int


@dataclass(frozen=True, slots=True)
class QueueRow:
    """One queue; its messages are in a file of their own."""

    id: str
    name: str
    owner: Owner
    created_at_ms: int
    modified_at_ms: int


@dataclass(frozen=True, slots=True)
class ConsumerRow:
    """A consumer as the API shows it. `script`: None for one that pulls."""

    id: str
    queue_id: str
    queue_name: str
    script: ScriptRef | None
    settings: ConsumerSettings
    dead_letter_queue: str | None
    created_at_ms: int

    @property
    def record(self) -> ConsumerRecord | None:
        """What delivery reads; None for one that pulls."""
        if self.script is None:
            return None
        return ConsumerRecord(self.queue_id, self.queue_name, self.script, self.settings)

    def __str__(self) -> str:
        return "one that pulls" if self.script is None else describe(self.script)


def new_id() -> str:
    """32 hex digits, random: never used again, so a deleted thing's id can't come to mean another."""
    return secrets.token_hex(16)


def namespace_key(namespace: NamespaceName | None) -> str:
    """How a table spells the namespace of a script: '' for a plain one."""
    return namespace or ""


def to_ref(namespace: str, script: str) -> ScriptRef:
    return ScriptRef(NamespaceName(namespace) if namespace else None, ScriptName(script))


def describe(ref: ScriptRef) -> str:
    """A script, for a message."""
    return f"script {ref.script!r} of {_place(ref.namespace)}"


def tail_index(version: ScriptVersion) -> list[tuple[str, str]]:
    """(name, script) of each tail consumer, as the index of bindings has them: no binding can have such a name."""
    return [(f"tail_consumers[{index}]", name) for index, name in enumerate(version.tail_consumers)]


def to_route(row: Row) -> RouteRecord:
    route_id, pattern, path_prefix, headers, namespace, script, hook, created_at_ms = row
    target = Target(hook=hook) if hook else Target(script=to_ref(namespace, script))
    conditions = tuple((name, value) for name, value in json.loads(headers))
    return RouteRecord(Route(route_id, pattern, path_prefix, conditions, target), created_at_ms)


def encode_conditions(headers: Sequence[tuple[str, str]]) -> str:
    """Sorted header conditions as text; equal conditions are equal text."""
    return json.dumps(sorted(headers), ensure_ascii=False, separators=(",", ":"))


def to_owner(tenant: str | None, namespace: str | None) -> Owner:
    if tenant is None or namespace is None:
        return ACCOUNT_OWNED
    return Owner(NamespaceName(namespace), TenantId(tenant))


def to_consumer(row: Row) -> ConsumerRow:
    queue_id, queue_name, namespace, script, size, wait, retries, delay, dead_id, *others = row
    consumer_id, at, dead, most, visibility_ms = others
    settings = ConsumerSettings(size, wait, retries, delay, dead_id, most)
    if visibility_ms is not None:
        settings = replace(settings, visibility_timeout_ms=visibility_ms)
    ref = to_ref(namespace, script) if script else None
    return ConsumerRow(consumer_id, queue_id, queue_name, ref, settings, dead, at)


def to_kv_namespace(row: Row) -> KvNamespaceRecord:
    return KvNamespaceRecord(row[0], row[1], to_owner(row[2], row[3]), row[4])


def to_queue(row: Row) -> QueueRow:
    return QueueRow(row[0], row[1], to_owner(row[2], row[3]), row[4], row[5])


def _place(namespace: NamespaceName | None) -> str:
    return f"namespace {namespace!r}" if namespace else "the account"
