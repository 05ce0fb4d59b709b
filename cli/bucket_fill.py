"""What keeps a bucket full: it is given what it lacks and this machine has."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from control.leftovers import References, referred
from storage.failures import StorageError
from storage.object_cache import RemoteObjects, refill
from storage.object_store import FolderObjectStore

_log = logging.getLogger("tenantry.objects")

_EVERY_S: Final = 900.0
_AGAIN_S: Final = 30.0


class BucketFill:
    """At first all that was here, later what got lost there."""

    def __init__(self, references: References, folder: FolderObjectStore, remote: RemoteObjects) -> None:
        self._references = references
        self._folder = folder
        self._remote = remote

    async def run(self) -> None:
        """For ever. What fails is logged, and tried again."""
        while True:
            pause_s = _EVERY_S
            try:
                count = await self.fill()
            except StorageError as error:
                _log.warning("%s (%s); what it may lack is given to it later", error.message, error.detail)
                pause_s = _AGAIN_S
            else:
                if count:
                    _log.info("%d modules were given to %s", count, self._remote.where)
            await asyncio.sleep(pause_s)

    async def fill(self) -> int:
        """Once; how many it was. Raises StorageError."""
        wanted = await referred(self._references)
        return await asyncio.to_thread(refill, self._folder, self._remote, wanted)
