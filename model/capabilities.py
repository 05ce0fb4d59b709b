"""What a guest may be lent, as protocols. `bindings` and `outbound` implement them; `runtime` only sees
these, so that it knows neither a database nor a network.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from model.analytics import DataPoint
from model.call_egress import EgressHosts
from model.identity import AccountId, NamespaceName, RayId, ScriptName, TenantId, VersionId
from model.messages import ByteSource, Entry, OutgoingRequest, Response
from model.scripts import HostnameRoutes, OutboundStep, OutboundWorker, ScriptRef, ScriptVersion
from model.sql import SqlExecuted, SqlResult, SqlStatement
from model.tree_budget import TreeBudget


class TreePermit(Protocol):
    """The one permit that covers a visitor's whole tree of sandboxes (dispatcher → worker → service…)."""

    def nested(self) -> None:
        """One more sandbox in this tree. Raises LoadShed when there is no slot; never waits."""

    def release_nested(self) -> None: ...

    def park(self) -> None:
        """A guest of this tree begins to wait for a host operation: it counts as suspended, not as running."""

    def unpark(self) -> None: ...


class EventContext(msgspec.Struct):
    """Whose event this is: what a capability may need to decide, count and log."""

    account: AccountId
    namespace: NamespaceName | None
    script: ScriptName
    version: VersionId
    tenant: TenantId
    tags: tuple[str, ...]
    ray_id: RayId
    #: 0 for the worker that a visitor reached; at most 16.
    depth: int
    permit: TreePermit
    #: Given by the dispatcher to this call, for the egress policy and the outbound worker.
    outbound_params: Mapping[str, str] = msgspec.field(default_factory=dict)
    client_ip: str = ""
    #: How many hosts of this platform the visitor's request has passed before it came here.
    hops: int = 0
    #: Of the worker that called this one; None: a visitor did, or a hook.
    caller: EventContext | None = None
    #: Who is asked before a request of this event leaves; None: nobody, the egress policy decides alone.
    outbound_worker: OutboundWorker | None = None
    #: Of an outbound worker's event, and of those that it calls as its own parts: whose request it handles. What
    #: it fetches is fetched for that one, under that one's egress policy.
    asker: EventContext | None = None
    #: To which hosts its dispatchers narrowed what it may send; None: they said nothing.
    egress_hosts: EgressHosts | None = None
    #: Of one request of this event: what an outbound worker had to do with it; None: it comes as the worker made it.
    outbound_step: OutboundStep | None = None
    #: How many this event has written.
    data_points: int = 0
    #: Of its caller, by a service binding, or its own since it called one; None: its limits are its own alone.
    budget: TreeBudget | None = None
    #: As model.messages.Client has it, of the visitor's request.
    http_protocol: str = ""
    #: It is a tail handler's, or called from one: nobody is told what becomes of it, or tails would tail each other.
    untraced: bool = False


class Fetcher(Protocol):
    """Answers a subrequest: the outbound gateway, or another worker."""

    async def fetch(self, request: OutgoingRequest, context: EventContext) -> Response:
        """Raises OperationError. The caller closes the response's body; so does cancelling before it came."""


@dataclass(frozen=True, slots=True)
class Binding:
    """A capability under the name that the worker knows it by. `value` implements the protocol of `kind`
    (the operation's table says which); `kind` is a BindingKind or "fetcher".
    """

    kind: str
    value: object


@dataclass(frozen=True, slots=True)
class WorkerEnv:
    """What one script version is lent; made once a version and process, shared by its events."""

    vars: Mapping[str, str] = field(default_factory=dict)
    bindings: Mapping[str, Binding] = field(default_factory=dict)
    fetcher: Fetcher | None = None


@dataclass(frozen=True, slots=True)
class CallOptions:
    """What a dispatcher gives one call. `limits` are names of model.limits.Limits fields and can only lower
    the plan's; `params` reach the worker as `params` of its Request; `outbound_params` reach the egress
    policy and the outbound worker, and the worker itself never sees them. `outbound_worker` is the one that the
    dispatcher's binding names. `egress_hosts` narrow what the worker may send, and what it calls in turn.
    `shares_budget`: what the worker uses is taken off the caller's own (EventContext.budget). `entry` is where in the
    worker the call leads; None: to its `fetch` handler.
    """

    limits: Mapping[str, int] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    outbound_params: Mapping[str, str] = field(default_factory=dict)
    outbound_worker: OutboundWorker | None = None
    egress_hosts: EgressHosts | None = None
    shares_budget: bool = False
    entry: Entry | None = None


class WorkerRunner(Protocol):
    """Runs another worker inside the tree of the one that asks."""

    async def run(
        self, ref: ScriptRef, request: OutgoingRequest, caller: EventContext, options: CallOptions
    ) -> Response:
        """Returns when the worker has started its response; the body streams.

        Raises OperationError: worker_not_found (message starts with "Worker not found"; also when it has no such
        entry point), worker_failed
        (its outcome and why), load_shed, limit_exceeded (depth), invalid_argument (outbound params that the
        outbound worker in force does not declare).
        """


class GuestEvent(Protocol):
    """The event as an operation sees it."""

    @property
    def context(self) -> EventContext: ...

    @property
    def env(self) -> WorkerEnv: ...

    def borrow_stream(self, stream_id: object) -> ByteSource:
        """Hand over the stream with this id; the guest can't use it any more.

        Raises OperationError(invalid_argument | closed_stream).
        """

    def lend_stream(self, source: ByteSource) -> int:
        """Give the guest a readable stream; closed at the event's end at the latest."""

    def lend_budget(self) -> None:
        """From now on `context.budget` is there, for a worker that this one calls to spend of.

        Raises OperationError(limit_exceeded) when nothing is left of its CPU time.
        """

    def charge(self, cpu_ns: int) -> None:
        """CPU time that others spent for the event: it is in its record, and not held against its limit."""

    def check_computing(self) -> None:
        """Before the host computes something for the event.

        Raises OperationError(limit_exceeded) when that has used up the event's CPU limit.
        """

    def charge_computing(self, cpu_ns: int) -> None:
        """CPU time that the host computed in the event's stead: charged, and held against its limit."""

    def close_later(self, close: Callable[[], None]) -> None:
        """Call `close` when the event has ended, whatever way."""


OperationResult = object | Awaitable[object]


@dataclass(frozen=True, slots=True)
class Operation:
    """One row of the table that both ABIs are front doors to.

    `run(event, lent, args)` answers a MessagePack-able value at once, or an awaitable of it; it raises
    OperationError. `lent` is the binding's value (None where `binding_kind` is None); `args` are exactly
    as the guest sent them: any MessagePack value, hostile. Anything else raised is a bug and becomes
    `internal`.
    """

    name: str
    binding_kind: str | None
    #: Counted against Limits.subrequests.
    subrequest: bool
    run: Callable[[GuestEvent, object, Sequence[object]], OperationResult]


OperationTable = Mapping[str, Operation]


class RouteStore(Protocol):
    """Look-ups of the data plane; synchronous, since a point read is cheaper than a thread hop."""

    def hostname_routes(self, pattern: str) -> HostnameRoutes | None:
        """The routes stored under exactly this pattern (a hostname, `*.parent` or `*`)."""

    def script(self, ref: ScriptRef) -> ScriptVersion | None: ...

    def sequence(self) -> int:
        """The number of the last change that anyone committed: one memory load."""

    def changes_since(self, sequence: int) -> tuple[int, Sequence[tuple[str, str]] | None]:
        """(newest number, [(kind, key)…]), or None for the list when the log no longer reaches back:
        then everything cached is to be dropped. Kinds: "route" (key: the pattern), "script" (key:
        `namespace/name` or `/name`), "policy" (key: the namespace), "namespace", "secret" (as script).
        """


class KvEntry(msgspec.Struct, gc=False):
    """One value of a KV namespace. `metadata` is JSON text; `expiration` is UNIX seconds."""

    value: bytes
    metadata: str | None = None
    expiration: int | None = None

    @property
    def size(self) -> int:
        return len(self.value)


class StoredBytes(Protocol):
    """Bytes that are not in memory, as they were at one moment. Who was given it closes it."""

    size: int

    def read_at(self, offset: int, size: int) -> bytes:
        """Fewer bytes than `size` only at the end. From any thread; may wait for the disk."""

    def close(self) -> None:
        """Idempotent; never waits."""


@dataclass(slots=True)
class KvLargeEntry:
    """As KvEntry, of a value that is too large to be held."""

    value: StoredBytes
    metadata: str | None = None
    expiration: int | None = None

    @property
    def size(self) -> int:
        return self.value.size


#: What is written.
KvWritten = KvEntry | KvLargeEntry


@dataclass(slots=True)
class KvKey:
    """One key as a listing shows it."""

    name: str
    metadata: str | None = None
    expiration: int | None = None


@dataclass(slots=True)
class KvPage:
    """`keys` in UTF-8 byte order; `cursor` continues after the last of them, None when there are no more."""

    keys: list[KvKey]
    cursor: str | None


class KvNamespace(Protocol):
    """One KV namespace. Keys, sizes and expirations were checked by who calls (`bindings.kv` has the rules).

    An expired key is gone at once. What a write returned for is durable, and every reader sees it: within a
    second, where a cache stands between. Raises OperationError: invalid_argument (cursor), not_found (the
    namespace was deleted), unavailable (storage).
    """

    def get(self, key: str, cache_ttl_s: int = 60) -> KvEntry | Awaitable[KvEntry | None] | None:
        """None when absent. At once, on the calling thread, where the value is at hand and at most 64 KiB; a
        cache may answer with what was read up to `cache_ttl_s` ago.
        """

    def open(self, key: str, cache_ttl_s: int = 60) -> KvEntry | Awaitable[KvWritten | None] | None:
        """As `get`, but that a value above 1 MiB is not held; the caller closes it."""

    def get_many(
        self, keys: Sequence[str], max_bytes: int
    ) -> Mapping[str, KvEntry] | Awaitable[Mapping[str, KvEntry]]:
        """Those that exist. Raises limit_exceeded when the values together are above `max_bytes`."""

    async def put(self, key: str, entry: KvWritten) -> None:
        """Replaces value, metadata and expiration together; the last write wins."""

    async def delete(self, key: str) -> None:
        """Idempotent: deleting what is not there is no error."""

    async def increment(self, key: str, delta: int) -> int:
        """The new value, which is kept as decimal text; an absent key counts as 0, metadata and expiration stay.

        Raises invalid_argument when the value is no 64-bit integer, or the sum would be none.
        """

    async def compare_and_swap(self, key: str, expected: bytes | None, entry: KvWritten) -> bool:
        """Put `entry` if the value now is `expected` (None: the key is absent); whether it was."""

    async def list(self, prefix: str, limit: int, cursor: str | None) -> KvPage:
        """At most `limit` keys, fewer when the page is full in bytes; stays right while keys are written."""


@dataclass(slots=True)
class QueueMessage:
    """What a producer sends. `content_type` is json (`body` is JSON text), text (UTF-8) or bytes; without a delay it
    has the queue's.
    """

    body: bytes
    content_type: str
    delay_s: int | None = None


class QueueProducer(Protocol):
    """The sending end of one queue; sizes were checked by who calls (`bindings.queues` has the rules)."""

    async def send(self, messages: Sequence[QueueMessage]) -> None:
        """All or none; returns when they are durable.

        Raises OperationError: limit_exceeded (the backlog is full), not_found (deleted), unavailable.
        """


#: Told of CPU time, in ns.
Charge = Callable[[int], None]


def free(cpu_ns: int) -> None:
    """Nobody's event: a Charge."""


class SqlDatabase(Protocol):
    """One SQL database. Its statements run one after another in a process; what a write returned for is durable, and
    every process reads it. `seen` is the number of a write (SqlMeta.bookmark) that the answer has to know of. `tenant`
    is whose the work is: threads are shared out by it.

    Raises OperationError, with the prefixes `D1_ERROR` and `D1_EXEC_ERROR`: invalid_argument (the SQL), conflict (a
    constraint), denied (not for tenants' SQL), limit_exceeded, timeout, load_shed, not_found (deleted), unavailable.
    Cancelling ends what only reads; a write that was asked for completes, or fails, as a whole. `charge` is told the
    CPU time in ns, whatever came of it; of `query_now` it is the caller's own.
    """

    def query_now(self, statement: SqlStatement, seen: int | None = None) -> SqlResult | None:
        """As `query`, if it can be told at once, which a small read can. None: nothing was done. Never raises."""

    async def query(
        self, statement: SqlStatement, tenant: str, seen: int | None = None, charge: Charge = free
    ) -> SqlResult:
        """One statement."""

    async def batch(
        self, statements: Sequence[SqlStatement], tenant: str, seen: int | None = None, charge: Charge = free
    ) -> list[SqlResult]:
        """All in one transaction, or none."""

    async def exec(self, script: str, tenant: str, charge: Charge = free) -> SqlExecuted:
        """Statements one by one; those before one that fails stay."""


class SecretStore(Protocol):
    """One secret, under the name that the worker knows it by."""

    def get(self) -> str | Awaitable[str]:
        """At once when it was asked for before. Raises OperationError: not_found, unavailable."""


class HttpCache(Protocol):
    """Responses that a tenant keeps, by URL and what they vary by (RFC 9111, a shared cache)."""

    async def match(self, request: OutgoingRequest, ignore_method: bool) -> Response | None:
        """A fresh response to `request`; a 304 where it has that one already; None: there is none.

        Raises OperationError: invalid_argument (no absolute URL), load_shed (a large body).
        """

    async def put(self, request: OutgoingRequest, response: Response, body: bytes) -> bool:
        """Keep a response, with `body` for its own. False: its headers say that it is not to be kept."""

    async def delete(self, request: OutgoingRequest, ignore_method: bool) -> bool:
        """Whether there was one, for any headers."""


class RateLimiter(Protocol):
    """How often something may happen, by key; each binding has its own limit."""

    def limit(self, key: str) -> bool:
        """Count one use of `key`, if it may be used now; False when not, and then nothing is counted."""


class AnalyticsDataset(Protocol):
    """Where one script's data points go."""

    def write(self, point: DataPoint) -> None:
        """Never waits and never fails: what finds no room is dropped, and counted."""


class ServiceTarget(Protocol):
    """The worker at the other end of a service binding."""

    async def fetch(
        self, request: OutgoingRequest, caller: EventContext, call: str | None = None
    ) -> Response:
        """`call`: a method, whose arguments are the request's body. Raises as WorkerRunner.run."""


class Dispatcher(Protocol):
    """A dispatch namespace, as a dispatch worker sees it."""

    async def fetch(
        self, script: str, request: OutgoingRequest, caller: EventContext, options: CallOptions
    ) -> Response:
        """Raises as WorkerRunner.run; invalid_argument when `script` can't be a script's name."""
