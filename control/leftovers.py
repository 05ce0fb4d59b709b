"""Remove, in the background, modules that no script refers to any more, and their images.

A file goes when two sweeps in a row found no script for it, and nobody has stored or asked for it since long
before: an upload that is under way has just done so. An image that a process has mapped stays mapped; a missing
one is compiled again. Nothing here holds anybody up: scripts are read in pages, and a sweep removes so many files
and no more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from storage.failures import StorageError

LOG = logging.getLogger("tenantry.control")

#: Longer than any upload takes from storing its module to its commit: waiting for the compiler, and compiling.
GRACE_S: Final = 3600.0
EVERY_S: Final = 900.0
#: Files that one sweep removes of each kind, and remembers for the next one.
MOST: Final = 2_000
_PAGE: Final = 500
_PAUSE_S: Final = 0.02

#: (namespace, name) of a script, the last of a page.
Place = tuple[str, str]


class References(Protocol):
    def referred_page(self, after: Place, limit: int, /) -> Awaitable[tuple[set[str], Place | None]]:
        """Digests of the modules of at most `limit` scripts after `after`, and where to go on; None at the end."""


class Files(Protocol):
    """Modules, or images, by the digest of the module. Calls block: they are made in a thread."""

    def digests(self) -> Iterator[str]: ...

    def remove_stale(self, digest: str, older_than_s: float, /) -> int:
        """Bytes that were freed; 0 when it is younger, was used since, or is not there."""


@dataclass(frozen=True, slots=True)
class Removed:
    files: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True)
class Swept:
    """What one sweep did, by kind."""

    removed: dict[str, Removed]
    kept: int


def suspects(stored: Iterable[str], referred: set[str], most: int = MOST) -> set[str]:
    """What is stored and not referred to; at most so many. Pure."""
    found: set[str] = set()
    for digest in stored:
        if digest not in referred:
            found.add(digest)
            if len(found) == most:
                break
    return found


def _look(files: Files, referred: set[str]) -> set[str]:
    return suspects(files.digests(), referred)


async def referred(references: References) -> set[str]:
    """Scripts that are deployed while this reads have just stored their module, and are safe by that."""
    found: set[str] = set()
    place: Place | None = ("", "")
    while place is not None:
        digests, place = await references.referred_page(place, _PAGE)
        found |= digests
        await asyncio.sleep(_PAUSE_S)
    return found


class LeftoverSweep:
    """`kinds`: what is swept, by name. `foreign` removes images of other engines that are so old, and says how
    many files. One a host: what is stored is written by one process.
    """

    def __init__(
        self,
        references: References,
        kinds: dict[str, Files],
        foreign: Callable[[float], int],
        tell: Callable[[str, Removed], None],
        grace_s: float = GRACE_S,
    ) -> None:
        self._references = references
        self._kinds = kinds
        self._foreign = foreign
        self._tell = tell
        self._grace_s = grace_s
        self._before: dict[str, set[str]] = {name: set() for name in kinds}

    async def run(self, every_s: float = EVERY_S) -> None:
        """For ever. What fails is logged, and tried again at the next sweep."""
        while True:
            await asyncio.sleep(every_s)
            try:
                await self.sweep()
            except (StorageError, OSError) as error:
                LOG.warning("what no script refers to was not swept: %s", error)

    async def sweep(self) -> Swept:
        wanted = await referred(self._references)
        removed: dict[str, Removed] = {}
        for kind, files in self._kinds.items():
            found = await asyncio.to_thread(_look, files, wanted)
            removed[kind] = await self._remove(files, found & self._before[kind])
            self._before[kind] = found
            self._tell(kind, removed[kind])
            if removed[kind].files:
                LOG.info(
                    "removed %d %s that no script refers to, %d bytes",
                    *(removed[kind].files, kind, removed[kind].size),
                )
        if others := await asyncio.to_thread(self._foreign, self._grace_s):
            LOG.info("removed %d files of images for another engine", others)
        return Swept(removed, len(wanted))

    async def _remove(self, files: Files, digests: set[str]) -> Removed:
        count = size = 0
        for digest in sorted(digests):
            freed = await asyncio.to_thread(files.remove_stale, digest, self._grace_s)
            if freed:
                count, size = count + 1, size + freed
        return Removed(count, size)
