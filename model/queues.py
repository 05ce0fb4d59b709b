"""Who consumes a queue, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from model.scripts import ScriptRef

#: How long a message waits for a consumer before it is dropped, where its queue says nothing: Cloudflare's 4 days.
RETENTION_S: Final = 4 * 24 * 3600


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """What holds for a queue whoever consumes it. Bounds are checked by who sets it."""

    #: Nothing is delivered, pushed or pulled. Sends go on, and what is being delivered may end.
    delivery_paused: bool = False
    #: Of messages that name no delay of their own, in s; 0 to 43,200.
    delivery_delay_s: int = 0
    #: Of messages sent from now on, in s; 60 to 1,209,600.
    retention_s: int = RETENTION_S


@dataclass(frozen=True, slots=True)
class QueueSettingsChange:
    """None: as it was."""

    delivery_paused: bool | None = None
    delivery_delay_s: int | None = None
    retention_s: int | None = None


@dataclass(frozen=True, slots=True)
class ConsumerSettings:
    """How messages reach a consumer. Bounds are checked where they are stored."""

    #: Messages of one batch at the most, 1 to 100.
    batch_size: int = 10
    #: How long the oldest ready message may wait for the batch to fill, in ms, 0 to 60,000.
    max_wait_ms: int = 5_000
    #: Deliveries after the first, 0 to 100.
    max_retries: int = 3
    #: Until the next delivery, in s, where the worker names no delay of its own; 0 to 43,200.
    retry_delay_s: int = 0
    #: Where a message goes whose deliveries are used up; None: it is deleted.
    dead_letter_queue_id: str | None = None
    #: Batches that a worker is given at once, over all processes, 1 to 250; None: one in each process.
    max_concurrency: int | None = None
    #: Of a consumer that pulls: for how long what it pulled is nobody else's, in ms, where it does not say.
    visibility_timeout_ms: int = 30_000


@dataclass(frozen=True, slots=True)
class ConsumerRecord:
    """One worker that consumes one queue."""

    queue_id: str
    queue_name: str
    script: ScriptRef
    settings: ConsumerSettings
