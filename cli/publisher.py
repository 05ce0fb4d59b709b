"""What an upload goes through before it can be served, and the same again when an image or a delta is missing."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from pathlib import Path
from typing import Final

from control.publishing import PreparedModule
from control.services import ObjectStore
from model.errors import PlatformError
from model.limits import FETCH_LIMITS
from runtime.aot_cache import AotCache, ImageUnavailable, ModuleFacts
from runtime.artifact import Artifact, read_artifact
from runtime.compile import Compiler
from runtime.compile_answers import Compiled, CompileRefused, LoadedScript, ScriptRefused
from runtime.compile_queue import FairQueue
from runtime.javascript.delta import memory_bytes_of
from runtime.javascript.sealed import ScriptFacts
from runtime.module_problems import InvalidModule, ModuleProblem, ScriptFailed
from storage.failures import from_os_error

_log = logging.getLogger("tenantry.control")

#: A larger module is read and hashed in a thread: it takes a ms a MiB, and more of wasm.
_SMALL_BYTES: Final = 256 * 1024


class LocalPublisher:
    """Implements control.publishing.Publisher over an object store and this machine's AOT cache.

    `javascript` is the JavaScript engine's module, whose digest the cache knows; b"" where there is none, or it is that
    of another build than the host was started with: then what was compiled of that one is used, as long as it is there.
    """

    def __init__(
        self,
        objects: ObjectStore,
        cache: AotCache,
        compiler: Compiler,
        queue: FairQueue,
        javascript: bytes = b"",
    ) -> None:
        self._objects = objects
        self._cache = cache
        self._compiler = compiler
        self._queue = queue
        self._javascript = javascript
        self._making_javascript: asyncio.Task[None] | None = None

    async def prepare(self, module: bytes, owner: str) -> PreparedModule:
        """See Publisher.prepare. A module that is here already is not compiled again."""
        artifact = await _read(module)
        if artifact.kind == "javascript":
            return await self._prepare_script(artifact.digest, module, owner)
        startup_us = 0
        if self._cache.has(artifact.digest):
            await asyncio.to_thread(self._cache.touch, artifact.digest)
        else:
            startup_us = await self._compile(artifact, module, owner)
        return PreparedModule(artifact.digest, artifact.handlers, _ms(startup_us))

    async def remake(self, digest: str) -> None:
        """Compile or load a stored module again: its image or delta is missing, forged, or of another engine."""
        if digest == self._cache.javascript:
            self._making_javascript = None
            await self._have_javascript(again=True)
            return
        module = await asyncio.to_thread(self._objects.get, digest)
        artifact = await _read(module)
        if artifact.kind == "javascript":
            await self._load(digest, module, f"bundle {digest}")
        else:
            await self._compile(artifact, module, f"image {digest}", again=True)

    async def warm(self) -> None:
        """What takes long at the first upload, ahead of it: the JavaScript engine's image, and a compile child."""
        if self._cache.javascript:
            try:
                await self._have_javascript()
            except (InvalidModule, PlatformError) as error:
                _log.error("the JavaScript engine can't be used: %s", error)
        self._compiler.keep_spare()

    async def _prepare_script(self, digest: str, bundle: bytes, owner: str) -> PreparedModule:
        try:
            # Of most uploads there is none yet, and a look is less than a way to a thread.
            stored = (
                await asyncio.to_thread(self._cache.read_delta, digest)
                if self._cache.has_delta(digest)
                else None
            )
        except ImageUnavailable:
            stored = None
        if stored is None:
            loaded = await self._load(digest, bundle, owner)
            return PreparedModule(
                digest,
                loaded.handlers,
                _ms(loaded.startup_us),
                loaded.entrypoints,
                loaded.lines,
                memory_bytes_of(loaded.delta),
            )
        await asyncio.to_thread(self._cache.touch, digest)
        facts, memory_bytes = stored.facts, memory_bytes_of(stored.delta)
        return PreparedModule(digest, facts.handlers, 0, facts.entrypoints, memory_bytes=memory_bytes)

    async def _load(self, digest: str, bundle: bytes, owner: str) -> LoadedScript:
        await self._have_javascript()
        keep = partial(self._keep, digest)
        async with self._queue.turn(owner):
            try:
                return await self._compiler.load(bundle, FETCH_LIMITS.memory_bytes, keep)
            except ScriptRefused as refused:
                raise ScriptFailed(refused.error) from refused
            except CompileRefused as refused:
                raise InvalidModule(ModuleProblem.SCRIPT_FAILED, str(refused)) from refused

    def _keep(self, digest: str, loaded: LoadedScript) -> None:
        facts = ScriptFacts(loaded.handlers, loaded.entrypoints)
        try:
            self._cache.store_delta(digest, facts, loaded.delta)
        except OSError as error:
            raise from_os_error(error, Path("aot")) from error

    async def _have_javascript(self, *, again: bool = False) -> None:
        """Until the engine's image is here and compile children have it. Whoever comes meanwhile waits for the same."""
        if not self._cache.javascript:
            raise InvalidModule(
                ModuleProblem.NO_JAVASCRIPT,
                "this host was started without a JavaScript engine: build one with `make setup`, and restart the host",
            )
        if self._making_javascript is None:
            making = asyncio.get_running_loop().create_task(self._make_javascript(again))
            self._making_javascript = making
            making.add_done_callback(self._made_javascript)
        await asyncio.shield(self._making_javascript)

    def _made_javascript(self, making: asyncio.Task[None]) -> None:
        failed = making.cancelled() or making.exception() is not None
        if failed and self._making_javascript is making:
            self._making_javascript = None  # the next one tries anew

    async def _make_javascript(self, again: bool) -> None:
        digest = self._cache.javascript
        try:
            if again:
                raise ImageUnavailable("it is to be made anew")
            image = await asyncio.to_thread(self._cache.read_image, digest)
        except ImageUnavailable as why:
            if not self._javascript:
                raise InvalidModule(
                    ModuleProblem.NO_JAVASCRIPT,
                    "this host's JavaScript engine was built anew since its start, and of the one that it was started"
                    f" with no compiled image is left ({why}): restart the host, which takes the new one up",
                ) from why
            _log.info("the JavaScript engine is compiled: %s", why)
            async with self._queue.turn("the JavaScript engine"):
                try:
                    image = (await self._compiler.compile(self._javascript, FETCH_LIMITS.memory_bytes)).image
                except CompileRefused as refused:
                    raise InvalidModule(
                        ModuleProblem.NO_JAVASCRIPT,
                        f"this host's JavaScript engine does not compile: {refused}",
                    ) from refused
            await self._store(digest, ModuleFacts(False), image)
        self._compiler.use_javascript(image)

    async def _compile(self, artifact: Artifact, module: bytes, owner: str, *, again: bool = False) -> int:
        async with self._queue.turn(owner):
            if self._cache.has(artifact.digest) and not again:
                return 0  # somebody else's upload of the same bytes was before us
            try:
                compiled: Compiled = await self._compiler.compile(module, FETCH_LIMITS.memory_bytes)
            except CompileRefused as refused:
                raise InvalidModule(ModuleProblem.DOES_NOT_COMPILE, str(refused)) from refused
        await self._store(artifact.digest, ModuleFacts("_initialize" in artifact.exports), compiled.image)
        return compiled.startup_us

    async def _store(self, digest: str, facts: ModuleFacts, image: bytes) -> None:
        try:
            await asyncio.to_thread(self._cache.store, digest, facts, image)
        except OSError as error:
            raise from_os_error(error, Path("aot")) from error


async def _read(module: bytes) -> Artifact:
    """Raises InvalidModule."""
    if len(module) <= _SMALL_BYTES:
        return read_artifact(module)
    return await asyncio.to_thread(read_artifact, module)


def _ms(microseconds: int) -> int:
    return -(-microseconds // 1000)
