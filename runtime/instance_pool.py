"""Modules that are mapped and linked, ready to be instantiated; the least recently used goes first, of a tenant that
has more than its share if there is one (runtime.shelf).

A mapped module costs 25 KiB and 3 to 4 entries of `vm.max_map_count`, of which a process has 65,530: the cap
is on both. Tenants with the same module share it: the key is the digest of the bytes.

All workers in JavaScript are one mapped module, the engine, which stays; each has its delta, kept as it was stored.
They cost memory and no map, so they stand on a shelf of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from runtime.aot_cache import AotCache, ImageUnavailable, OpenImage
from runtime.capi.engine_store import Engine, Module
from runtime.capi.failures import CapiError
from runtime.capi.linker import DeltaPre, InstancePre, Linker
from runtime.capi.spares import make_spares
from runtime.javascript.sealed import SealedDelta
from runtime.shelf import Place, Shelf

MAX_MODULES: Final = 4_000
MAX_IMAGE_BYTES: Final = 1 << 30
#: Of JavaScript workers; a delta has 5 KiB to 16 MiB.
MAX_DELTAS: Final = 50_000
MAX_DELTA_BYTES: Final = 256 << 20
#: Of the JavaScript engine's image: no tenant's name is empty.
_NOBODY: Final = ""


@dataclass(slots=True)
class LoadedModule:
    """`module` is owned, with its instance-pre: the pool alone closes them. A JavaScript worker has none: what it is
    instantiated from is the engine's.
    """

    module: Module | None
    pre: InstancePre
    initialize: bool
    place: Place
    #: Events that are instantiating from it or may yet; it is not closed below them.
    users: int = 0
    evicted: bool = False

    @property
    def is_javascript(self) -> bool:
        return self.module is None

    def close_if_unused(self) -> None:
        if self.evicted and self.users == 0 and self.module is not None:
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
        max_delta_bytes: int = MAX_DELTA_BYTES,
    ) -> None:
        self._engine = engine
        self._linker = linker
        self._cache = cache
        self._recompile = recompile
        self._loaded: dict[str, LoadedModule] = {}
        self._images = Shelf(max_modules, max_bytes)
        self._deltas = Shelf(MAX_DELTAS, max_delta_bytes)
        #: The JavaScript engine, once a worker has needed it: used for as long as this process lives.
        self._javascript: LoadedModule | None = None
        #: Recompilations under way, by digest: many events may wait for the same one.
        self._recompiling: dict[str, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._loaded)

    def get(self, digest: str) -> LoadedModule | None:
        """The module when it is here; it is the most recently used then."""
        loaded = self._loaded.get(digest)
        if loaded is not None:
            loaded.place.use()
        return loaded

    def load_small(self, digest: str, tenant: str) -> LoadedModule | None:
        """`load`, where nobody has to wait for it; None where somebody has: the image is large, or not there."""
        try:
            image = self._cache.open_small(digest)
            return None if image is None else self._map(digest, tenant, image)
        except CapiError:
            return None  # `load` meets it again, and does something about it
        except ImageUnavailable:
            return self._load_small_delta(digest, tenant)

    def _load_small_delta(self, digest: str, tenant: str) -> LoadedModule | None:
        if self._javascript is None:
            return None
        try:
            stored = self._cache.read_small_delta(digest)
        except ImageUnavailable:
            return None
        return None if stored is None else self._keep_delta(digest, tenant, self._javascript, stored)

    async def load(self, digest: str, tenant: str) -> LoadedModule:
        """Map it for a tenant, after compiling it again if need be. Raises ImageUnavailable when even that failed."""
        loaded = self.get(digest)
        if loaded is not None:
            return loaded
        try:
            return await self._verify_and_map(digest, tenant)
        except (ImageUnavailable, CapiError) as reason:
            await self._recompile_once(digest, str(reason))
            try:
                return await self._verify_and_map(digest, tenant)
            except CapiError as error:
                raise ImageUnavailable(str(error)) from error

    async def _verify_and_map(self, digest: str, tenant: str) -> LoadedModule:
        if self._cache.has_delta(digest):
            stored = await asyncio.to_thread(self._cache.read_delta, digest)
            engine = self._javascript or await self._load_javascript()
            return self.get(digest) or self._keep_delta(digest, tenant, engine, stored)
        image = self._cache.open_small(digest)
        if image is None:
            image = await self._open(digest)
        return self._map(digest, tenant, image)

    async def _open(self, digest: str) -> OpenImage:
        """In a thread, which opens it for nobody when who waits is cancelled."""
        opening = asyncio.get_running_loop().run_in_executor(None, self._cache.open, digest)
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_unwanted)
            raise

    def _map(self, digest: str, tenant: str, image: OpenImage) -> LoadedModule:
        """Map it, unless somebody else has meanwhile, and close it."""
        try:
            loaded = self.get(digest)
            return self._keep(digest, tenant, image) if loaded is None else loaded
        finally:
            image.close()

    def _keep(self, digest: str, tenant: str, image: OpenImage) -> LoadedModule:
        module = self._engine.load_image(image.path)
        try:
            pre = self._linker.instantiate_pre(module)
        except CapiError:
            module.close()
            raise
        place = self._place(self._images, tenant, digest, image.size)
        loaded = self._loaded[digest] = LoadedModule(module, pre, image.facts.initialize, place)
        return loaded

    async def _load_javascript(self) -> LoadedModule:
        """The engine that JavaScript workers share, made anew if need be."""
        engine = await self.load(self._cache.javascript, _NOBODY)
        if self._javascript is None:
            engine.pre.spares = make_spares(self._engine, engine.pre, "fetch")
            engine.users += 1
            self._javascript = engine
        return self._javascript

    def _keep_delta(
        self, digest: str, tenant: str, engine: LoadedModule, stored: SealedDelta
    ) -> LoadedModule:
        pre = DeltaPre(engine.pre, stored.delta)
        place = self._place(self._deltas, tenant, digest, stored.size)
        loaded = self._loaded[digest] = LoadedModule(None, pre, False, place)
        return loaded

    def _place(self, shelf: Shelf, tenant: str, digest: str, size: int) -> Place:
        place, gone = shelf.put(tenant, digest, size)
        for each in gone:
            evicted = self._loaded.pop(each)
            evicted.evicted = True
            evicted.close_if_unused()
        return place

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


def _close_unwanted(opening: asyncio.Future[OpenImage]) -> None:
    if opening.exception() is None:
        opening.result().close()
