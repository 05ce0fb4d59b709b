"""Who consumes a queue, and how."""

from __future__ import annotations

from dataclasses import dataclass

from model.scripts import ScriptRef


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


@dataclass(frozen=True, slots=True)
class ConsumerRecord:
    """One worker that consumes one queue."""

    queue_id: str
    queue_name: str
    script: ScriptRef
    settings: ConsumerSettings
