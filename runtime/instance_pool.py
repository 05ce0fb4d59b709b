"""Modules that are mapped and linked, ready to be instantiated; the least recently used goes first.

A mapped module costs 25 KiB and 3 to 4 entries of `vm.max_map_count`, of which a process has 65,530: the cap
is on both. Tenants with the same module share it: the key is the digest of the bytes.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from runtime.aot_cache import AotCache, ImageUnavailable, OpenImage
from runtime.capi.engine_store import Engine, Module
from runtime.capi.failures import CapiError
from runtime.capi.linker import InstancePre, Linker

MAX_MODULES: Final = 4_000
MAX_IMAGE_BYTES: Final = 1 << 30


@dataclass(slots=True)
class LoadedModule:
    """Owns the mapped module and its instance-pre; the pool alone closes it."""

    module: Module
    pre: InstancePre
    initialize: bool
    size: int
    #: Events that are instantiating from it or may yet; it is not closed below them.
    users: int = 0
    evicted: bool = False

    def close_if_unused(self) -> None:
        if self.evicted and self.users == 0:
            self.pre.close()
            self.module.close()


class InstancePool:
    """`recompile(digest)` makes the image anew when the cache has none that may be loaded."""

    def __init__(
        self,
        engine: Engine,
        linker: Linker,
        cache: AotCache,
        recompile: Callable[[str, str], Awaitable[None]],
        max_modules: int = MAX_MODULES,
        max_bytes: int = MAX_IMAGE_BYTES,
    ) -> None:
        self._engine = engine
        self._linker = linker
        self._cache = cache
        self._recompile = recompile
        self._max_modules = max_modules
        self._max_bytes = max_bytes
        self._bytes = 0
        self._loaded: OrderedDict[str, LoadedModule] = OrderedDict()
        #: Recompilations under way, by digest: many events may wait for the same one.
        self._recompiling: dict[str, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._loaded)

    def get(self, digest: str) -> LoadedModule | None:
        """The module when it is here; it is the most recently used then."""
        loaded = self._loaded.get(digest)
        if loaded is not None:
            self._loaded.move_to_end(digest)
        return loaded

    def load_small(self, digest: str) -> LoadedModule | None:
        """`load`, where nobody has to wait for it; None where somebody has: the image is large, or not there."""
        try:
            image = self._cache.open_small(digest)
            return None if image is None else self._map(digest, image)
        except (ImageUnavailable, CapiError):
            return None  # `load` meets it again, and does something about it

    async def load(self, digest: str) -> LoadedModule:
        """Map it, after compiling it again if need be. Raises ImageUnavailable when even that failed."""
        loaded = self.get(digest)
        if loaded is not None:
            return loaded
        try:
            return await self._verify_and_map(digest)
        except (ImageUnavailable, CapiError) as reason:
            await self._recompile_once(digest, str(reason))
            try:
                return await self._verify_and_map(digest)
            except CapiError as error:
                raise ImageUnavailable(str(error)) from error

    async def _verify_and_map(self, digest: str) -> LoadedModule:
        image = self._cache.open_small(digest)
        if image is None:
            image = await asyncio.to_thread(self._cache.open, digest)
        return self._map(digest, image)

    def _map(self, digest: str, image: OpenImage) -> LoadedModule:
        """Map it, unless somebody else has meanwhile, and close it."""
        try:
            loaded = self.get(digest)
            return self._keep(digest, image) if loaded is None else loaded
        finally:
            image.close()

    def _keep(self, digest: str, image: OpenImage) -> LoadedModule:
        module = self._engine.load_image(image.path)
        try:
            pre = self._linker.instantiate_pre(module)
        except CapiError:
            module.close()
            raise
        loaded = self._loaded[digest] = LoadedModule(module, pre, image.facts.initialize, image.size)
        self._bytes += loaded.size
        self._evict()
        return loaded

    async def _recompile_once(self, digest: str, reason: str) -> None:
        task = self._recompiling.get(digest)
        if task is None:
            task = asyncio.ensure_future(self._recompile_now(digest, reason))
            self._recompiling[digest] = task

            def settled(task: asyncio.Task[None]) -> None:
                del self._recompiling[digest]
                if not task.cancelled():
                    task.exception()  # whoever still waits gets it; if nobody does, it is no news

            task.add_done_callback(settled)
        # An event that is cancelled takes nothing from the others that wait.
        await asyncio.shield(task)

    async def _recompile_now(self, digest: str, reason: str) -> None:
        await self._recompile(digest, reason)

    def _evict(self) -> None:
        while len(self._loaded) > self._max_modules or (
            self._bytes > self._max_bytes and len(self._loaded) > 1
        ):
            _, loaded = self._loaded.popitem(last=False)
            self._bytes -= loaded.size
            loaded.evicted = True
            loaded.close_if_unused()
