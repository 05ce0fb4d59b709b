"""A new root key, while everything is in use: what is sealed is sealed anew, in the background.

The new key is beside the old one (`root-key.next`) until nothing is under the old one any more; then it takes its
place, and the old one stays as `root-key.<its id>`, for backups of before. From the beginning on everything new is
sealed under the new key, and either opens what it sealed. Cut short at any point, it goes on at the next start.
"""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Any, Final

from control.secret_sealing import RootKeySealer
from storage.failures import StorageError, from_os_error
from storage.keys import RootKey, Unsealable
from storage.secret_rotation import SealedRow, SealedRows

LOG = logging.getLogger("tenantry.control")

_AGAIN_S: Final = 5.0


def next_key_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.next")


class KeyRotation:
    """Of a host that is alone. `path` is the root key's file."""

    def __init__(self, sealer: RootKeySealer, rows: SealedRows, path: Path) -> None:
        self._sealer = sealer
        self._rows = rows
        self._path = path
        self._task: asyncio.Task[None] | None = None
        self._resealed = 0
        self._unopened: list[str] = []

    def go_on(self) -> None:
        """At start: with one that was cut short. Raises StorageError when the new key can't be read."""
        if next_key_path(self._path).exists():
            self._begin(RootKey.load(next_key_path(self._path)))

    def start(self) -> None:
        """Make a new key, and begin; nothing when one is under way. Raises StorageError."""
        if self._task is None or self._task.done():
            self._begin(RootKey.load_or_create(next_key_path(self._path)))

    def state(self) -> dict[str, Any]:
        """As the API shows it."""
        rotating = self._task is not None and not self._task.done()
        return {
            "rotating": rotating,
            "key_id": self._sealer.current.key_id,
            "previous_key_id": None if self._sealer.previous is None else self._sealer.previous.key_id,
            "resealed": self._resealed,
            "unopened": list(self._unopened),
            "waiting_for": [],
        }

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _begin(self, new: RootKey) -> None:
        self._begin_sealing(new)
        self._task = asyncio.get_running_loop().create_task(self._run())

    def _begin_sealing(self, new: RootKey) -> None:
        # From here on whatever is stored is sealed under it: no row comes behind the search that is under the old one.
        self._sealer.begin(new)
        self._resealed = 0
        LOG.info("the root key is rotated: from %s to %s", self._sealer.previous, new)

    async def _run(self) -> None:
        while True:
            try:
                # A second time: a work that was sealed before the beginning may have been committed behind the search.
                while await self._reseal_all():
                    pass
                await asyncio.to_thread(self._put_in_place)
            except StorageError as error:
                LOG.warning(
                    "the rotation of the root key goes on in a moment: %s (%s)", error.message, error.detail
                )
                await asyncio.sleep(_AGAIN_S)
            else:
                break
        LOG.info(
            "nothing is sealed under root key %s any more; %d were", self._sealer.previous, self._resealed
        )
        self._sealer.end()

    async def _reseal_all(self) -> int:
        count = 0
        self._unopened = []
        for materials in (False, True):
            place = ("", "", "")
            while page := await self._rows.page(materials=materials, after=place):
                place = (page[-1].namespace, page[-1].script, page[-1].name)
                pairs = [(row, sealed) for row in page if (sealed := self._reseal(row)) is not None]
                if pairs:
                    await self._rows.replace(pairs)
                    count += len(pairs)
                    self._resealed += len(pairs)
                await asyncio.sleep(0)
        return count

    def _reseal(self, row: SealedRow) -> bytes | None:
        try:
            return self._sealer.reseal(row)
        except Unsealable as error:
            # Of a key that was lost before: no rotation brings it back.
            self._unopened.append(f"{row.namespace or '-'}/{row.script or 'materials'}/{row.name}")
            LOG.warning("%s does not open and stays as it is: %s", self._unopened[-1], error.message)
            return None

    def _put_in_place(self) -> None:
        """The new key is the root key now. A crash in between leaves the old one in place, and the new one beside."""
        old = self._sealer.previous
        if old is None or not next_key_path(self._path).exists():
            return  # whoever may write there has moved it
        kept = self._path.with_name(f"{self._path.name}.{old.key_id}")
        try:
            if not kept.exists():
                os.link(self._path, kept)
            os.replace(next_key_path(self._path), self._path)
            descriptor = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            # Out of the data folder the host may not write: whoever may has to.
            LOG.warning(
                "everything is under the new root key: move %s to %s", next_key_path(self._path), self._path
            )
            raise from_os_error(error, self._path) from error
