"""What a queue engine does, whichever it is: SQLite in a file (`queue_store`), PostgreSQL (`postgres.queue_store`).

A message is delivered by leasing it: until the lease's end nobody else gets it, and when its deliverer died it is
simply ready again. So delivery is at least once, and never twice at a time while the lease holds. `attempts`
counts deliveries begun, so that a message which kills its deliverer is used up like any other; a lease that its
deliverer puts back, because nothing has run, is not counted. Batches that are pushed have one lease; of what is pulled
each message has its own. The unit is a queue's id. Sizes of messages were checked by who calls (`bindings.queues` has
the rules).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from model.capabilities import QueueMessage
from model.errors import OperationError, OperationErrorCode
from model.queues import RETENTION_S, QueueSettings, QueueSettingsChange

RETENTION_MS: Final = RETENTION_S * 1000
#: What one queue may hold: Cloudflare's 25 GB.
BACKLOG_BYTES: Final = 25_000_000_000
#: Rows that one transaction of a purge, sweep or deletion removes: others wait for it.
SWEEP_ROWS: Final = 500
_LEASE_ID: Final = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """`attempts` counts this delivery, so a consumer's first look sees 1."""

    id: str
    sent_at_ms: int
    attempts: int
    content_type: str
    body: bytes
    #: Of a message that was peeked at: what `remove` takes.
    ref: str = ""


@dataclass(frozen=True, slots=True)
class Lease:
    """Messages lent to one deliverer until `ends_at_ms`, unless renewed."""

    id: str
    queue_id: str
    ends_at_ms: int
    messages: tuple[StoredMessage, ...]
    #: It is one of those that `at_most` bounded.
    counted: bool = False


@dataclass(frozen=True, slots=True)
class PulledMessage:
    """`lease_id`: 32 hex digits that nobody can guess, of this delivery alone."""

    lease_id: str
    message: StoredMessage


@dataclass(frozen=True, slots=True)
class DeadLettering:
    """`max_attempts` deliveries at the most, then to `queue_id`; None there: deleted."""

    max_attempts: int
    queue_id: str | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of the messages of a lease. Those that the lease had lost are in none of them."""

    acknowledged: int = 0
    retried: int = 0
    dead_lettered: int = 0
    #: Used up, and there was no dead-letter queue.
    dropped: int = 0
    #: Put back: no delivery of theirs has begun.
    not_taken: int = 0


@dataclass(frozen=True, slots=True)
class PullsSettled:
    """What became of messages that were pulled, and which leases have something to be told."""

    settled: Settled
    #: Had ended, but nobody else had the message yet: it counts all the same.
    late: tuple[str, ...] = ()
    #: No lease of this queue, or no longer: another has the message, or it is gone. Nothing was done.
    not_held: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReadyQueue:
    queue_id: str
    #: Since when its oldest ready message has been waiting.
    ready_since_ms: int


@dataclass(frozen=True, slots=True)
class Backlog:
    """Messages that are stored: ready, delayed and leased."""

    messages: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class QueueTotals:
    """Over all queues."""

    messages: int = 0
    bytes: int = 0
    paused: int = 0


class QueueStorage(Protocol):
    """Use from one event loop; any number of processes may hold the same storage.

    Every method raises StorageError subclasses when the storage fails, and OperationError as it says.
    """

    #: Called with the queue's id after each send of this process, so that delivery need not poll for it; also,
    #: with any text, when there may be something of others' to deliver.
    on_send: Callable[[str], None]

    @property
    def now_ms(self) -> int: ...

    async def send(self, queue_id: str, messages: Sequence[QueueMessage]) -> list[str]:
        """All or none, durable when it returns: their ids. Delay and retention are the queue's, unless a message
        has a delay of its own.

        Raises OperationError: not_found (the queue was deleted), limit_exceeded (its backlog is full).
        """

    async def ready_queues(self) -> list[ReadyQueue]:
        """Queues with a message that may be delivered now, the longest waiting first; none that is paused.

        One indexed query whose cost follows the queues that are ready, not those that exist.
        """

    async def ready_count(self, queue_id: str, at_most: int) -> int:
        """How many messages may be delivered now, counted up to `at_most`."""

    async def lease(
        self,
        queue_id: str,
        count: int,
        lease_ms: int,
        used_up: DeadLettering | None = None,
        at_most: int | None = None,
        holder: str = "",
    ) -> Lease | None:
        """Take up to `count` ready messages, oldest first, for `lease_ms`; None when there are none, or the queue is
        paused.

        With `used_up`, messages whose deliveries are spent (their deliverers died) are dead-lettered
        instead of being delivered once more. With `at_most`, no more leases of the queue that were taken with it hold
        at once, over all processes: None while they do. One whose holder died counts until it ends, or until
        who comes after `holder` has given back what it held.
        """

    async def give_back(self, holder: str) -> int:
        """End the counted leases of a holder that has died: their messages are ready now. How many there were.

        Only for who knows that it has died: while it lives, its messages would be delivered twice at a time.
        """

    async def renew(self, lease: Lease, lease_ms: int) -> int:
        """Let it end `lease_ms` from now; returns how many messages it still has."""

    async def settle(
        self, lease: Lease, acknowledged: Sequence[str], retried: Mapping[str, int], used_up: DeadLettering
    ) -> Settled:
        """End a delivery: remove the acknowledged, make the retried ready after their delay in seconds,
        dead-letter those that were delivered `max_attempts` times. One transaction.

        By message id. A late settle counts as long as nobody else leased the message in between; ids that
        the lease does not have (any more) are passed over. A message in neither stays leased.
        """

    async def put_back(self, lease: Lease, delay_s: int) -> Settled:
        """End a lease with which nothing was begun: its messages are ready in `delay_s` seconds, and it counts as no
        attempt of theirs. What it does not have (any more) is passed over.
        """

    async def pull(
        self, queue_id: str, count: int, lease_ms: int, used_up: DeadLettering
    ) -> list[PulledMessage]:
        """As `lease`, with a lease for each message; none when the queue is paused."""

    async def settle_pulled(
        self, queue_id: str, acknowledged: Sequence[str], retried: Mapping[str, int], used_up: DeadLettering
    ) -> PullsSettled:
        """As `settle`, by the leases of single messages, whatever text they are. One that is not this queue's does
        nothing.
        """

    async def settings(self, queue_ids: Sequence[str]) -> dict[str, QueueSettings]:
        """Of each of them, also of those for which nothing was set."""

    async def change_settings(self, queue_id: str, change: QueueSettingsChange) -> QueueSettings:
        """What holds from now on, in every process: who leases afterwards finds the queue paused.

        Raises OperationError: not_found (the queue was deleted).
        """

    async def totals(self) -> QueueTotals:
        """For the operator: its cost follows the number of queues that hold messages."""

    def backlog(self, queue_id: str) -> Backlog | Awaitable[Backlog]: ...

    async def stored(self, queue_id: str) -> tuple[int, int]:
        """(messages, bytes of their bodies): the backlog, for who awaits anyway."""

    async def peek(self, queue_id: str, count: int) -> list[StoredMessage]:
        """The oldest `count` messages, whether ready or not, without leasing them."""

    async def remove(self, queue_id: str, refs: Sequence[str]) -> list[str]:
        """Remove what was peeked at; returns those of `refs`, whatever text they are, that were there."""

    async def purge(self, queue_id: str) -> int:
        """Remove every message that is stored now, in batches; returns how many there were."""

    async def delete_queue(self, queue_id: str) -> int:
        """Refuse messages to it from now on, then purge it. The id must never be used again."""

    async def sweep(self) -> int:
        """Remove at most 500 messages that are older than the retention; returns how many."""

    async def sweep_forever(self, interval_s: float = 60.0) -> None:
        """Remove what is past its retention until cancelled; one process is enough, more do no harm."""


def deleted_queue() -> OperationError:
    return OperationError(OperationErrorCode.NOT_FOUND, "this queue was deleted; bind another one")


def backlog_full(held: Backlog, most_bytes: int) -> OperationError:
    return OperationError(
        OperationErrorCode.LIMIT_EXCEEDED,
        f"Storage Limit Exceeded: the queue holds {held.bytes} bytes of {most_bytes};"
        " wait until its consumer has caught up, or purge it",
    )


def nobody(queue_id: str) -> None:
    """Nobody listens for sends."""


def changed(settings: QueueSettings, change: QueueSettingsChange) -> QueueSettings:
    """`settings` with what `change` names."""
    return QueueSettings(
        settings.delivery_paused if change.delivery_paused is None else change.delivery_paused,
        settings.delivery_delay_s if change.delivery_delay_s is None else change.delivery_delay_s,
        settings.retention_s if change.retention_s is None else change.retention_s,
    )


def is_lease_id(text: str) -> bool:
    """Whether it looks like one."""
    return _LEASE_ID.fullmatch(text) is not None
