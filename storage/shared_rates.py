"""Who has used how much of which rate, in one mapped file that all processes of a machine count in.

A key is a slot of 24 bytes in the bucket that its digest names; a bucket is locked for the microsecond of one use, by a
record lock, which a process that dies lets go. Times are the machine's monotonic clock, the same for all processes.
Nothing here outlives a period by much, so the file needs no fsync, and one from before a reboot does no harm.

Memory is bounded. Where a bucket is full of keys that have not rested, whoever holds most of it gives way, so that
nobody is locked out by the keys that somebody else invents; and whoever holds most itself gets none of its own that has
to wait, since it would get rid of its limits by using many keys: then the new key waits. (As outbound.rate_limits, for
the one bucket.)
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import secrets
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from model.clock import monotonic_s
from model.gcra import TOLERANCE_S, gcra
from storage.failures import from_os_error

#: In `DATA`; another layout gets another name.
FILE_NAME: Final = "rates-1"
BUCKETS: Final = 32_768
SLOTS: Final = 8
#: A longer one could not be told from what a reboot left.
LONGEST_PERIOD_S: Final = 60.0

#: The key's digest (0: free), until when it is not forgiven, seconds that one use costs, the period, whose it is.
_SLOT = struct.Struct("<QdfHH")
_BUCKET_BYTES: Final = SLOTS * _SLOT.size
#: The secret that digests are keyed with: who can't compute them can't aim at a bucket.
_SECRET_BYTES: Final = 32
_HEADER_BYTES: Final = 4_096
FILE_BYTES: Final = _HEADER_BYTES + BUCKETS * _BUCKET_BYTES


class Slot(NamedTuple):
    digest: int
    forgiven_at_s: float
    cost_s: float
    period_s: int
    holder: int


class SharedRates:
    """Use from one thread of each process. `take` doesn't wait, but for another process's microsecond."""

    def __init__(self, path: Path, clock: Callable[[], float] = monotonic_s) -> None:
        """Map `path`; it is made (mode 0600) when missing. Raises DiskFull, StorageLost."""
        self._clock = clock
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX, 1, 0)
                if os.fstat(self._file).st_size < FILE_BYTES:
                    # Real bytes, not holes: a store into a hole on a full disk ends the process (SIGBUS).
                    os.posix_fallocate(self._file, 0, FILE_BYTES)
                self._map = mmap.mmap(self._file, FILE_BYTES)
                if not any(self._map[:_SECRET_BYTES]):
                    self._map[:_SECRET_BYTES] = secrets.token_bytes(_SECRET_BYTES)
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, 0)
            except BaseException:
                os.close(self._file)
                raise
        except OSError as error:
            raise from_os_error(error, path) from error
        self._secret = bytes(self._map[:_SECRET_BYTES])

    def take(self, holder: str, key: bytes, limit: int, period_s: int) -> bool:
        """Use one of the `limit` that `key` of `holder` has in `period_s`; False, and nothing is used, when there is
        none left.
        """
        # Lengths first: no two pairs are the same bytes.
        name = holder.encode()
        whole = hashlib.blake2b(
            b"%d,%d,%d," % (len(name), limit, period_s) + name + key, key=self._secret, digest_size=16
        ).digest()
        bucket = int.from_bytes(whole[:8]) % BUCKETS
        digest = int.from_bytes(whole[8:]) or 1
        owner = int.from_bytes(hashlib.blake2b(name, key=self._secret, digest_size=2).digest())
        cost_s = period_s / limit
        at = _HEADER_BYTES + bucket * _BUCKET_BYTES
        fcntl.lockf(self._file, fcntl.LOCK_EX, 1, at)
        try:
            now_s = self._clock()
            slots = [Slot(*found) for found in _SLOT.iter_unpack(self._map[at : at + _BUCKET_BYTES])]
            place = choose_slot(slots, digest, owner, now_s)
            if place is None:
                return False
            held = slots[place]
            forgiven_at_s = (
                held.forgiven_at_s if held.digest == digest and not has_rested(held, now_s) else 0.0
            )
            forgiven_at_s, wait_s = gcra(forgiven_at_s, now_s, cost_s, period_s)
            if wait_s > 0:
                return False
            _SLOT.pack_into(
                self._map, at + place * _SLOT.size, digest, forgiven_at_s, cost_s, period_s, owner
            )
            return True
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, at)

    def close(self) -> None:
        self._map.close()
        os.close(self._file)


def has_rested(slot: Slot, now_s: float) -> bool:
    """Whether nothing of it counts any more. What lies further ahead than a use can reach is from before a reboot."""
    return slot.forgiven_at_s <= now_s or slot.forgiven_at_s > now_s + LONGEST_PERIOD_S + 1.0


def choose_slot(slots: Sequence[Slot], digest: int, owner: int, now_s: float) -> int | None:
    """Where a key is counted: its own slot, a free one, or one that gives way; None: the key has to wait. Pure."""
    free: int | None = None
    for place, slot in enumerate(slots):
        if slot.digest == digest:
            return place
        if free is None and (slot.digest == 0 or has_rested(slot, now_s)):
            free = place
    if free is not None:
        return free
    holds = Counter(slot.holder for slot in slots)
    most = max(holds.values())
    least_used = min(
        (place for place, slot in enumerate(slots) if holds[slot.holder] == most),
        key=lambda place: (slots[place].forgiven_at_s - now_s) / slots[place].period_s,
    )
    slot = slots[least_used]
    must_wait = slot.forgiven_at_s + slot.cost_s - now_s - slot.period_s > TOLERANCE_S
    if most > holds[owner] or not must_wait:
        return least_used
    return None
