"""Stack traces of the log, in the places of the sources that workers were bundled of.

Done for whoever reads the log, and not while a worker runs: most traces nobody looks at. What a bundle's maps say is
kept decoded, the most recently used, within a bound.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from model.errors import PlatformError
from model.observer import LogLine
from runtime.javascript.bundle import decode, is_bundle
from runtime.javascript.traces import Maps, has_frames, maps_of, translate, translate_error
from runtime.module_problems import InvalidModule, ScriptError

_log = logging.getLogger("tenantry.control")

MOST_BYTES: Final = 64 << 20
#: Of a bundle without a map that can be read, too.
_ENTRY_BYTES: Final = 512


class SourceTraces:
    """`read` gives a stored module's bytes by its digest; it blocks, and may raise PlatformError."""

    def __init__(self, read: Callable[[str], bytes], most_bytes: int = MOST_BYTES) -> None:
        self._read = read
        self._most_bytes = most_bytes
        self._kept: OrderedDict[str, tuple[Maps, int]] = OrderedDict()
        self._bytes = 0
        #: Decoding takes up to a second, and memory: one at a time.
        self._turn = asyncio.Lock()

    @property
    def kept_bytes(self) -> int:
        return self._bytes

    async def shown(self, lines: Sequence[LogLine]) -> list[LogLine]:
        """The lines, with the traces in them told in the places of their sources, as far as that is known."""
        shown = []
        for line in lines:
            if line.module and has_frames(line.text):
                maps = await self._maps(line.module)
                line = replace(line, text=translate(line.text, maps))
            shown.append(line)
        return shown

    async def of_refused(self, error: ScriptError, module: bytes) -> ScriptError:
        """What an upload that is refused failed with, in the places of its sources."""
        async with self._turn:
            return await asyncio.to_thread(_in_sources, error, module)

    async def _maps(self, digest: str) -> Maps:
        found = self._find(digest)
        if found is not None:
            return found
        async with self._turn:
            found = self._find(digest)
            if found is None:
                found = await asyncio.to_thread(self._load, digest)
                self._keep(digest, found)
            return found

    def _find(self, digest: str) -> Maps | None:
        kept = self._kept.get(digest)
        if kept is None:
            return None
        self._kept.move_to_end(digest)
        return kept[0]

    def _load(self, digest: str) -> Maps:
        try:
            module = self._read(digest)
            return maps_of(decode(module)) if is_bundle(module) else {}
        except (PlatformError, InvalidModule) as error:
            # Replaced and swept meanwhile: its traces stay as they were written.
            _log.info("no source maps of module %s: %s", digest, error)
            return {}

    def _keep(self, digest: str, maps: Maps) -> None:
        # One may be of many modules.
        different = {id(map_): map_ for map_ in maps.values()}
        size = _ENTRY_BYTES * (1 + len(maps)) + sum(map_.size for map_ in different.values())
        self._kept[digest] = (maps, size)
        self._bytes += size
        while self._bytes > self._most_bytes and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1][1]


def _in_sources(error: ScriptError, module: bytes) -> ScriptError:
    return translate_error(error, maps_of(decode(module)))
