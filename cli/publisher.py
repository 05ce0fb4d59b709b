"""What an upload goes through before it can be served, and the same again when an image is missing."""

from __future__ import annotations

import asyncio
from pathlib import Path

from control.publishing import PreparedModule
from control.services import ObjectStore
from model.limits import FETCH_LIMITS
from runtime.aot_cache import AotCache, ModuleFacts
from runtime.artifact import Artifact, read_artifact
from runtime.compile import Compiler, CompileRefused
from runtime.compile_queue import FairQueue
from runtime.module_problems import InvalidModule, ModuleProblem
from storage.failures import from_os_error


class LocalPublisher:
    """Implements control.publishing.Publisher over an object store and this machine's AOT cache."""

    def __init__(self, objects: ObjectStore, cache: AotCache, compiler: Compiler, queue: FairQueue) -> None:
        self._objects = objects
        self._cache = cache
        self._compiler = compiler
        self._queue = queue

    async def prepare(self, module: bytes, owner: str) -> PreparedModule:
        """See Publisher.prepare. A module that is here already is not compiled again."""
        artifact = await asyncio.to_thread(read_artifact, module)
        startup_us = 0
        if self._cache.has(artifact.digest):
            await asyncio.to_thread(self._cache.touch, artifact.digest)
        else:
            startup_us = await self._compile(artifact, module, owner)
        return PreparedModule(artifact.digest, artifact.handlers, -(-startup_us // 1000))

    async def remake(self, digest: str) -> None:
        """Compile a stored module again: its image is missing, forged, or of another engine."""
        module = await asyncio.to_thread(self._objects.get, digest)
        artifact = await asyncio.to_thread(read_artifact, module)
        await self._compile(artifact, module, f"image {digest}", again=True)

    async def _compile(self, artifact: Artifact, module: bytes, owner: str, *, again: bool = False) -> int:
        async with self._queue.turn(owner):
            if self._cache.has(artifact.digest) and not again:
                return 0  # somebody else's upload of the same bytes was before us
            try:
                compiled = await self._compiler.compile(module, FETCH_LIMITS.memory_bytes)
            except CompileRefused as refused:
                raise InvalidModule(ModuleProblem.DOES_NOT_COMPILE, str(refused)) from refused
        facts = ModuleFacts("_initialize" in artifact.exports)
        try:
            await asyncio.to_thread(self._cache.store, artifact.digest, facts, compiled.image)
        except OSError as error:
            raise from_os_error(error, Path("aot")) from error
        return compiled.startup_us
