"""Workers in JavaScript with the whole runtime around them: deployed to deltas, run from them, by either driver."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace

from bindings.operations import OPERATIONS
from model.capabilities import Binding, OperationTable, WorkerEnv
from model.messages import IncomingRequest
from model.outcome import EventOutcome
from model.scripts import BindingKind, BindingSpec
from runtime.aot_cache import ModuleFacts
from runtime.instance_pool import MAX_DELTA_BYTES
from runtime.javascript.bundle import Module, ModuleType, encode, make
from runtime.worker import Worker
from tests.support import guests
from tests.support.guests import Guests, Remembered, request
from tests.support.javascript_engine import built_engine


@functools.cache
def _engine_image() -> bytes:
    module = guests.engine().compile(built_engine().wasm)
    try:
        return module.image()
    finally:
        module.close()


class JavaScriptGuests(Guests):
    def __init__(self, operations: OperationTable = OPERATIONS, delta_bytes: int = MAX_DELTA_BYTES) -> None:
        super().__init__(operations, javascript=built_engine().wasm, delta_bytes=delta_bytes)

    def _compile(self, digest: str) -> None:
        """The engine's image is the same for every test, and takes seconds to make."""
        if digest != self.cache.javascript:
            super()._compile(digest)
            return
        self.cache.store(digest, ModuleFacts(initialize=False), _engine_image())

    def deploy(
        self,
        source: str | bytes,
        *,
        bindings: Mapping[str, tuple[BindingKind, object]] | None = None,
        limits: Mapping[str, int] | None = None,
        warm_up: str = "",
    ) -> Worker:
        """One ES module. Raises LoadFailed."""
        code = source.encode() if isinstance(source, str) else source
        bundle = encode(make("worker.js", [Module("worker.js", ModuleType.ESM, code)], warm_up=warm_up))
        given = bindings or {}
        env = WorkerEnv(bindings={name: Binding(kind, value) for name, (kind, value) in given.items()})
        made = self.worker(bundle, env=env, limits=limits)
        specs = tuple(BindingSpec(kind, name, "") for name, (kind, _) in given.items())
        return Worker(self.host, replace(made.version, bindings=specs), env)

    async def answer(self, worker: Worker, incoming: IncomingRequest | None = None) -> Remembered:
        """Of a request that has to succeed."""
        ending, responder = await self.fetch(worker, incoming or request())
        assert ending.outcome is EventOutcome.OK, (ending, self.observer.texts[-5:])
        return responder
