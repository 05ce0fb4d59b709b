"""A new root key for all machines of a platform: none seals under it before each that runs holds it.

The operator has one machine make the new key (`root-key.next`), and copies that file to the others, where each finds
it without a restart. The steps, of which every machine takes each by itself:

1. it holds the next key, and says so: it opens what is sealed under either, and seals under the old one;
2. once all that were seen lately hold it, the platform is under the new key: who joins needs it from then on;
3. it seals under the new key, and says so when whatever it had sealed under the old one is committed, or never will be;
4. once all seal under it, what is under the old one is sealed anew, whoever comes first, until there is nothing;
5. the new key's file takes the old one's place.

A machine that was not there holds the old key alone: a start is refused until it has the new one beside it. One that
ran on without the database can't open what is sealed anew, says which file it lacks, and goes on when that is there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from control.key_rotation import KeyRotation, next_key_path
from control.secret_sealing import RootKeySealer
from model.clock import monotonic_s
from storage.failures import StorageError
from storage.keys import RootKey
from storage.secret_rotation import SealedRows

LOG = logging.getLogger("tenantry.control")

EVERY_S: Final = 1.0
#: Longer than a write may take from being sealed to its commit, or to its failure.
SETTLE_S: Final = 15.0
_SAID_EVERY_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class OtherMachine:
    """One that was seen lately. `keys`: ids of those that it holds, the one that it seals under first."""

    name: str
    keys: Sequence[str]


class PlatformKeys(Protocol):
    """What the machines tell each other. Calls block: they are made in a thread. All raise StorageError."""

    def root_key(self) -> str:
        """The id of the key that the platform is under."""

    def change_root_key(self, old_id: str, new_id: str) -> bool:
        """False when it was under another one than `old_id`."""

    def hold(self, key_ids: Sequence[str]) -> None:
        """Say it of this machine."""

    def others(self) -> Sequence[OtherMachine]: ...


def lacking(others: Sequence[OtherMachine], key_id: str, *, sealing: bool) -> list[str]:
    """Names of those that don't hold the key, or don't seal under it. Pure."""
    return [
        other.name for other in others if key_id not in (other.keys[:1] if sealing else tuple(other.keys))
    ]


class SharedKeyRotation(KeyRotation):
    """As KeyRotation, of one machine of several."""

    def __init__(
        self,
        sealer: RootKeySealer,
        rows: SealedRows,
        path: Path,
        platform: PlatformKeys,
        *,
        every_s: float = EVERY_S,
        settle_s: float = SETTLE_S,
        now_s: Callable[[], float] = monotonic_s,
    ) -> None:
        super().__init__(sealer, rows, path)
        self._platform = platform
        self._every_s = every_s
        self._settle_s = settle_s
        self._now_s = now_s
        self._waiting_for: list[str] = []
        self._began_at = 0.0
        self._said: tuple[str, ...] = ()
        self._complained_at = -_SAID_EVERY_S

    def go_on(self) -> None:
        """At start, and for as long as this machine runs. Raises StorageError when a next key can't be read."""
        self._take_next()
        self._task = asyncio.get_running_loop().create_task(self._watch())

    def start(self) -> None:
        """Make the key that is to be copied to the others; nothing when one is under way. Raises StorageError."""
        if self._sealer.previous is None and self._sealer.next is None:
            RootKey.load_or_create(next_key_path(self._path))
            self._take_next()

    def state(self) -> dict[str, Any]:
        sealer = self._sealer
        old, new = sealer.previous or sealer.current, sealer.next or sealer.current
        rotating = sealer.next is not None or sealer.previous is not None
        return {
            **super().state(),
            "rotating": rotating,
            "key_id": new.key_id,
            "previous_key_id": old.key_id if rotating else None,
            "waiting_for": list(self._waiting_for),
            "next_key_file": str(next_key_path(self._path)) if rotating else None,
        }

    def _take_next(self) -> None:
        path = next_key_path(self._path)
        if self._sealer.previous is None and self._sealer.next is None and path.exists():
            found = RootKey.load(path)
            if found.key_id == self._sealer.current.key_id:
                LOG.warning("%s is the root key itself: remove it", path)
                return
            self._sealer.next = found
            self._resealed = 0
            LOG.info("this machine holds the next root key, %s", found)

    async def _watch(self) -> None:
        while True:
            try:
                self._take_next()
                await self._step()
            except StorageError as error:
                self._complain(
                    f"the rotation of the root key goes on later: {error.message} ({error.detail})"
                )
            await asyncio.sleep(self._every_s)

    async def _step(self) -> None:
        """What is to be done now."""
        sealer, platform = self._sealer, self._platform
        under = await asyncio.to_thread(platform.root_key)
        if sealer.next is not None and under == sealer.next.key_id:
            self._begin_sealing(sealer.next)
            self._began_at = self._now_s()
        if sealer.previous is not None:
            if self._now_s() - self._began_at >= self._settle_s:
                await self._say(sealer.current, sealer.previous)
                await self._seal_anew()
        elif sealer.next is not None:
            await self._say(sealer.current, sealer.next)
            if under != sealer.current.key_id:
                self._complain(
                    f"the platform is under root key {under}, and {sealer.next} is not that one: replace it"
                )
                return
            self._waiting_for = lacking(
                await asyncio.to_thread(platform.others), sealer.next.key_id, sealing=False
            )
            if not self._waiting_for:
                await asyncio.to_thread(platform.change_root_key, sealer.current.key_id, sealer.next.key_id)
        else:
            await self._say(sealer.current)
            if under not in ("", sealer.current.key_id):
                self._complain(
                    f"the platform is under root key {under}, which this machine lacks: copy the root-key file of one"
                    f" that has it to {next_key_path(self._path)}, mode 0600; what is sealed anew does not open here"
                )

    async def _seal_anew(self) -> None:
        current = self._sealer.current
        self._waiting_for = lacking(
            await asyncio.to_thread(self._platform.others), current.key_id, sealing=True
        )
        if self._waiting_for:
            return
        while await self._reseal_all():
            pass
        await asyncio.to_thread(self._put_in_place)
        LOG.info("nothing is sealed under root key %s any more", self._sealer.previous)
        self._sealer.end()
        await self._say(current)

    async def _say(self, *keys: RootKey) -> None:
        ids = tuple(key.key_id for key in keys)
        if ids != self._said:
            await asyncio.to_thread(self._platform.hold, ids)
            self._said = ids

    def _complain(self, text: str) -> None:
        if self._now_s() - self._complained_at >= _SAID_EVERY_S:
            self._complained_at = self._now_s()
            LOG.warning("%s", text)
