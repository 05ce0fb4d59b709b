"""What the log of control data consists of, and what a machine is to do about it; frozen values, pure functions."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from storage.failures import StorageError
from storage.migrations import Migration, Migrations

#: Before the first entry.
NO_CHAIN: Final = bytes(32)


class EntryKind(StrEnum):
    CHANGES = "changes"
    MIGRATION = "migration"


@dataclass(frozen=True, slots=True)
class Entry:
    """One commit of some machine: a batch of works, or a step of the schema."""

    seq: int
    kind: EntryKind
    payload: bytes
    #: Over all that came before and this: two histories never have the same.
    chain: bytes
    #: Made up by who wrote it, so that it finds its entry again when it doesn't know whether it was committed.
    batch: str
    machine: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Head:
    """Where the log of one file ends, and how far back it goes."""

    founder: str
    seq: int
    chain: bytes
    #: Entries up to this one are gone.
    pruned: int
    snapshot_seq: int


@dataclass(frozen=True, slots=True)
class Step:
    """A migration as the log has it. A machine whose release doesn't know it may go on when `adds_only`."""

    stream: str
    number: int
    sha256: str
    adds_only: bool

    def __str__(self) -> str:
        return f"{self.stream} {self.number}"

    def pack(self) -> bytes:
        return json.dumps([self.stream, self.number, self.sha256, self.adds_only]).encode()

    @staticmethod
    def unpack(data: bytes) -> Step:
        """Raises ValueError."""
        stream, number, sha256, adds_only = json.loads(data)
        return Step(str(stream), int(number), str(sha256), bool(adds_only))

    @staticmethod
    def of(migration: Migration) -> Step:
        return Step(migration.stream, migration.number, migration.sha256, adds_only_tables(migration.sql))


@dataclass(frozen=True, slots=True)
class LocalState:
    """What a replica says of itself, written in the same transaction as what it applied."""

    platform: str
    #: The log has this file, and we follow it.
    joined: bool
    seq: int
    chain: bytes
    #: Steps that were passed over, since this machine's release did not know them: their tables are missing.
    skipped: tuple[Step, ...] = ()


class JoinRefused(StorageError):
    """This data folder can't become a machine of that platform; the message says what would be right."""


class Diverged(StorageError):
    """What this machine holds is not what the log says it should: a replica is loaded anew."""


class ReplicaBehind(StorageError):
    """The platform is past what this machine's release knows: it serves what it has, and changes nothing."""


class Way(StrEnum):
    """How a machine comes to what the platform has."""

    FOUND = "found"
    LOAD = "load"
    FOLLOW = "follow"


def way_in(
    local: LocalState | None,
    has_data: bool,
    platform: str,
    head: Head | None,
    machine: str,
    steps: Migrations,
) -> Way:
    """What a start has to do. Raises JoinRefused.

    `has_data`: rows of control's, in a file that never joined or whose founding nobody confirmed.
    """
    if local is not None:
        check_platform(local, platform)
    if head is None:
        if local is not None and local.joined:
            raise JoinRefused(
                "the database has lost the control data of this platform: restore it from its backup",
                detail=f"this folder is at entry {local.seq}",
            )
        return Way.FOUND
    was_first = head.founder == machine and local is not None and local.platform == platform
    if local is not None and (local.joined or was_first):
        known = {(step.stream, step.number) for step in steps.steps}
        # What was passed over must be had before the step is taken for done.
        return Way.LOAD if any((s.stream, s.number) in known for s in local.skipped) else Way.FOLLOW
    if has_data:
        raise JoinRefused(
            "this data folder has control data of its own, and the platform has other: start with an empty"
            " folder, and deploy to the platform what only this folder has"
        )
    return Way.LOAD


def check_platform(local: LocalState, platform: str) -> None:
    """Raises JoinRefused unless a replica that has joined is one of `platform`'s."""
    if local.joined and local.platform != platform:
        raise JoinRefused(
            "this data folder belongs to another platform than the database; name its own database, or start"
            " with an empty folder",
            detail=f"folder: {local.platform}, database: {platform}",
        )


def differs(local: LocalState, head: Head) -> str:
    """Why the two can't be of one history; "" while they may be."""
    if local.seq > head.seq:
        return f"this machine is at entry {local.seq}, and the log ends at {head.seq}"
    if local.seq == head.seq and local.chain != head.chain:
        return f"entry {local.seq} is another here than in the log"
    return ""


def next_entry(
    local: LocalState, kind: EntryKind, payload: bytes, batch: str, machine: str, at_ms: int
) -> Entry:
    return Entry(local.seq + 1, kind, payload, chain_after(local.chain, kind, payload), batch, machine, at_ms)


def chain_after(chain: bytes, kind: EntryKind, payload: bytes) -> bytes:
    return hashlib.sha256(chain + kind.encode() + b"\0" + payload).digest()


def check_entry(local: LocalState, entry: Entry) -> None:
    """Raises Diverged unless `entry` is what comes next."""
    if entry.seq != local.seq + 1:
        raise Diverged(f"entry {entry.seq} does not follow {local.seq}")
    if entry.chain != chain_after(local.chain, entry.kind, entry.payload):
        raise Diverged(f"entry {entry.seq} is damaged, or follows another history than this machine's")


def find_step(step: Step, known: Migrations) -> Migration | None:
    """The migration that `step` is; None when it is to be passed over. Raises ReplicaBehind, Diverged."""
    for migration in known.steps:
        if (migration.stream, migration.number) == (step.stream, step.number):
            if migration.sha256 != step.sha256:
                raise Diverged(f"migration {step} has another text here than on the machine that ran it")
            return migration
    if step.adds_only:
        return None
    raise ReplicaBehind(
        f"the platform's control data was migrated ({step}) by a newer release: upgrade this machine; until"
        " then it serves what it knew before, and changes nothing"
    )


_COMMENT: Final = re.compile(r"--[^\n]*")
_ADDS: Final = re.compile(r"CREATE\s+(TABLE|INDEX|UNIQUE\s+INDEX)\s", re.IGNORECASE)
_FILLS: Final = re.compile(r"\bAS\s+(SELECT|VALUES|WITH)\b", re.IGNORECASE)


def adds_only_tables(sql: str) -> bool:
    """Whether an older release can go on as if the step had not been: all it did was to make tables and indices."""
    statements: Sequence[str] = [part.strip() for part in _COMMENT.sub("", sql).split(";")]
    return all(_ADDS.match(part) and not _FILLS.search(part) for part in statements if part)
