"""A batch as its consumer sees it, and what the consumer says became of it. Pure.

Rules (Cloudflare Queues): a normal return acknowledges all that was not asked to be retried; a failure
retries all but what was acknowledged before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from bindings.arguments import invalid, type_name
from bindings.queues import MOST_DELAY_S, body_value, parse_delay
from model.errors import LoadShed
from model.outcome import EventOutcome
from storage.queue_protocol import StoredMessage

#: Ids of one verdict: a batch has at most 100 messages, and an id may stand in both lists.
_MOST_IDS: Final = 200


@dataclass(frozen=True, slots=True)
class QueueBatch:
    """What is delivered at once: 1 to 100 messages of one queue."""

    queue: str
    messages: tuple[StoredMessage, ...]

    def guest_value(self, variables: Mapping[str, str]) -> dict[str, Any]:
        """The map that a guest's `queue` export takes: docs/guest-abi.md."""
        return {
            "queue": self.queue,
            "messages": [
                {
                    "id": message.id,
                    "timestamp_ms": message.sent_at_ms,
                    "attempts": message.attempts,
                    "body": body_value(message.content_type, message.body),
                    "content_type": message.content_type,
                }
                for message in self.messages
            ],
            "vars": dict(variables),
        }


@dataclass(frozen=True, slots=True)
class BatchVerdict:
    """`retry`: message id → delay in seconds, None for the consumer's own delay. With `failed`, everything
    that is not in `acknowledged` is retried; without, everything that is not in `retry` is acknowledged.
    """

    failed: bool = False
    acknowledged: frozenset[str] = frozenset()
    retry: Mapping[str, int | None] = field(default_factory=dict)


FAILED: Final = BatchVerdict(failed=True)
ALL_ACKNOWLEDGED: Final = BatchVerdict()


def verdict_of(outcome: EventOutcome, message: str, answer: object) -> BatchVerdict:
    """Of an event that ended so; `answer` is what its guest's `queue` export returned, None where it returned nothing.

    Raises LoadShed when there was no sandbox for it, so that nothing has run, and as `parse_verdict`.
    """
    if outcome is EventOutcome.LOAD_SHED:
        raise LoadShed(message)
    if outcome is not EventOutcome.OK and answer is None:
        return FAILED
    return parse_verdict(answer)


def parse_verdict(value: object) -> BatchVerdict:
    """What a guest's `queue` export returned: nil, or `{ack?: [id…], retry?: [id | [id, delay_s?]…]}`, and with
    `error` it failed.

    Raises OperationError(invalid_argument), which is the worker's failure: the batch is to be retried.
    """
    if value is None:
        return ALL_ACKNOWLEDGED
    if not isinstance(value, dict):
        invalid(f"the queue handler returned {type_name(value)}; a map {{ack, retry}} or nothing is right")
    acknowledged = frozenset(_parse_id("ack", item) for item in _parse_list("ack", value.get("ack")))
    retry: dict[str, int | None] = {}
    for item in _parse_list("retry", value.get("retry")):
        if not isinstance(item, list | tuple):
            retry[_parse_id("retry", item)] = None
        elif 1 <= len(item) <= 2:
            delay = item[1] if len(item) == 2 else None
            retry[_parse_id("retry", item[0])] = (
                None if delay is None else parse_delay(delay, "retry: delay_s")
            )
        else:
            invalid(f"retry: each is [id, delay_s], delay_s an integer from 0 to {MOST_DELAY_S}")
    return BatchVerdict("error" in value, acknowledged, retry)


def retries_of(ids: Sequence[str], verdict: BatchVerdict, retry_delay_s: int) -> dict[str, int]:
    """Which messages of the batch come again, after how many seconds; the others are acknowledged.

    An id in both lists comes again: once too often is what at-least-once allows, never is not.
    """
    retried: dict[str, int] = {}
    for message_id in ids:
        if message_id in verdict.retry:
            delay = verdict.retry[message_id]
            retried[message_id] = retry_delay_s if delay is None else delay
        elif verdict.failed and message_id not in verdict.acknowledged:
            retried[message_id] = retry_delay_s
    return retried


def _parse_list(name: str, value: object) -> Sequence[object]:
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or len(value) > _MOST_IDS:
        invalid(f"{name}: an array of at most {_MOST_IDS} is right")
    return value


def _parse_id(name: str, value: object) -> str:
    if not isinstance(value, str):
        invalid(f"{name}: {type_name(value)}; a message's id is right")
    return value
