"""What a check of a data folder finds, as values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    #: Something is lost, broken or does not fit together.
    ERROR = "error"
    #: Nothing is lost; what is left over takes room, or is put right by itself.
    WARNING = "warning"


class Repair(StrEnum):
    """What can be put right without losing anything that anybody could still reach."""

    ORPHAN_KV = "remove the keys"
    ORPHAN_QUEUE = "remove the messages"
    ORPHAN_DATABASE = "remove the file"
    DELETIONS = "finish the deletions"
    KV_USAGE = "count the keys anew"
    QUEUE_HEADS = "count the messages anew"
    HOSTNAME_RECORD = "make the record anew"
    SEQUENCE = "store the number"
    IMAGE = "remove the image; it is compiled again"
    CACHE = "remove the file; it fills again"
    RESPONSES = "forget the responses"
    ORPHAN_SHARED_DATABASE = "remove the database"
    KV_PIECES = "remove the pieces"
    LEASES = "give them back"
    QUEUE_TICKETS = "make the tickets anew"
    CRON = "forget them"
    CRON_RUNS = "end them"


@dataclass(frozen=True, slots=True)
class Finding:
    """`check` is the kind of rule that does not hold; `subject` what `repair` takes."""

    check: str
    severity: Severity
    what: str
    repair: Repair | None = None
    subject: str = ""


def error(check: str, what: str, repair: Repair | None = None, subject: str = "") -> Finding:
    return Finding(check, Severity.ERROR, what, repair, subject)


def warning(check: str, what: str, repair: Repair | None = None, subject: str = "") -> Finding:
    return Finding(check, Severity.WARNING, what, repair, subject)
