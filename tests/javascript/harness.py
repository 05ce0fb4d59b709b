"""JavaScript in tests: the built engine, compiled once a test process; each event in a fresh instance of its own, with
a real session behind it.

A tenant's code is evaluated anew for each event here, which leaves the memory that its difference would: what the
engine does is tested in this package, how the runtime keeps differences is tested with it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgpack

from bindings.operations import OPERATIONS
from model.capabilities import WorkerEnv
from model.limits import FETCH_LIMITS, Limits
from model.messages import IncomingRequest, Responder
from model.scripts import BindingKind
from runtime.abi.core_module import codec
from runtime.abi.core_module.codec import GuestException
from runtime.abi.core_module.host_calls import GuestIo
from runtime.abi.core_module.session import Session
from runtime.capi.accelerated_guest import open_guest
from runtime.capi.guest import Guest
from runtime.capi.linker import InstancePre
from runtime.fiber import Stopped, frozen_clock_ns
from runtime.linking import make_linker
from tests.support.guests import Remembered, context, engine, request
from tests.support.javascript_engine import built_engine

SEED: Final = bytes(range(16))
_CPU_NS: Final = 10_000_000_000
_MEMORY_BYTES: Final = 128 << 20


@functools.cache
def engine_pre() -> InstancePre:
    """The engine, ready to be instantiated; it lives as long as the test process."""
    return make_linker(engine()).instantiate_pre(engine().compile(built_engine().wasm))


class Refused(Exception):
    """js_compile or js_load answered `{error: …}`."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error['kind']}: {error['message']}")
        self.error = error


@contextmanager
def instance(io: GuestIo | None = None) -> Iterator[Guest]:
    guest = open_guest(engine(), _MEMORY_BYTES, _CPU_NS, io or GuestIo(100, 10_000))
    try:
        guest.begin_instantiate(engine_pre())
        while not guest.poll():
            pass
        guest.finish()
        yield guest
    finally:
        guest.close()


def deploy_call(guest: Guest, export: str, argument: Mapping[str, object]) -> Any:
    """What a compile child does: one export, with MessagePack both ways. Raises Refused."""
    data = msgpack.packb(argument)
    result = _run(guest, export, data)
    answer = msgpack.unpackb(guest.read(result >> 32, result & 0xFFFF_FFFF))
    if "error" in answer:
        raise Refused(answer["error"])
    return answer["ok"]


def _run(guest: Guest, export: str, data: bytes) -> int:
    guest.find_exports(export, needs_alloc=True)
    guest.begin_call("alloc", len(data))
    _finish(guest)
    pointer = guest.result_i32()
    guest.write(pointer, data)
    guest.begin_call("handler", pointer, len(data))
    _finish(guest)
    return guest.result_i64()


def _finish(guest: Guest) -> None:
    while not guest.poll():
        assert guest.wanted is None, "it asks the host for something while it is deployed"
    guest.finish()


def compile_modules(modules: Sequence[tuple[str, str, bytes]], main: str, flags: Sequence[str] = ()) -> bytes:
    with instance() as guest:
        answer = deploy_call(guest, "js_compile", {"main": main, "modules": modules, "flags": list(flags)})
        return bytes(answer["code"])


@dataclass
class Answer:
    """How one event went."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    #: What a queue or scheduled handler returned.
    value: Any = None
    lines: list[str] = field(default_factory=list)
    #: What the handler threw, as the host was told.
    error: str | None = None
    #: Of the host's operations that were asked for.
    operations: int = 0
    #: Crossings: calls of the import `call`.
    calls: int = 0
    responder: Remembered = field(default_factory=Remembered)
    #: What its memory held at its end.
    memory: bytes | None = None

    @property
    def text(self) -> str:
        return self.body.decode()


class Tenant:
    """A worker that was compiled and loads."""

    def __init__(
        self,
        modules: Sequence[tuple[str, str, bytes]],
        main: str,
        env: WorkerEnv,
        limits: Limits,
        extra_env: Sequence[tuple[str, str]] = (),
        flags: Sequence[str] = (),
    ) -> None:
        self.code = compile_modules(modules, main, flags)
        self.env = env
        self.limits = limits
        #: A busy machine takes several times the usual: what is about the limit gives one of its own.
        self.guest_cpu_ms = limits.cpu_ms if limits.cpu_ms != FETCH_LIMITS.cpu_ms else 5_000
        listed = [(name, str(binding.kind)) for name, binding in env.bindings.items()]
        self.env_list = [*listed, *extra_env]
        with instance() as guest:
            self.loaded = load(guest, self.code)

    async def fetch(
        self, incoming: IncomingRequest | None = None, params: Mapping[str, str] | None = None
    ) -> Answer:
        given = incoming or request()

        def event(session: Session) -> bytes:
            stream = None
            if given.body is not None and not isinstance(given.body, bytes):
                stream = session.lend_stream(given.body)
            value = msgpack.unpackb(codec.encode_request(given, self.env.vars, params or {}, stream))
            return bytes(msgpack.packb(value | {"env": self.env_list}))

        return await self._serve("fetch", event)

    async def get(self, path: str = "/") -> Answer:
        return await self.fetch(request(path=path))

    async def background(self, handler: str, value: Mapping[str, object]) -> Answer:
        event = dict(value) | {"vars": dict(self.env.vars), "env": self.env_list}
        return await self._serve(handler, lambda _session: msgpack.packb(event))

    async def _serve(self, handler: str, make_event: Any) -> Answer:
        answer = Answer()
        io = GuestIo(256, 128 << 10)
        responder: Responder = answer.responder
        session = Session(context(), self.env, OPERATIONS, self.limits, responder, lambda: None)
        try:
            with instance(io) as guest:
                load(guest, self.code)
                guest.clock_ns = frozen_clock_ns()
                guest.cpu_ns, guest.cpu_budget_ns = 0, self.guest_cpu_ms * 1_000_000
                await self._drive(guest, session, handler, make_event(session), answer)
        finally:
            session.close()
        answer.lines = [line.decode() for _, line in io.lines]
        answer.operations = session.operations
        return answer

    async def _drive(
        self, guest: Guest, session: Session, handler: str, event: bytes, answer: Answer
    ) -> None:
        guest.find_exports(handler, needs_alloc=True)
        guest.begin_call("alloc", len(event))
        _finish(guest)
        pointer = guest.result_i32()
        guest.write(pointer, event)
        guest.begin_call("handler", pointer, len(event))

        # Without lanes: on a busy machine a thread at nice 19 would hardly get on.
        while not guest.poll():
            wanted = guest.wanted
            if wanted is None:
                guest.resume_yielded()
                continue
            if guest.cpu_ns >= guest.cpu_budget_ns:
                raise Stopped("cpu")
            answer.calls += 1
            made = session.answer(wanted)
            guest.reply = made if isinstance(made, bytes) else await made
            guest.clock_ns = frozen_clock_ns()
            guest.resume(len(guest.reply))
        guest.finish()
        result = guest.result_i64()
        answer.memory = guest.read(0, guest.memory_size())
        data = guest.read(result >> 32, result & 0xFFFF_FFFF)
        try:
            await self._take(session, handler, data, answer)
        except GuestException as error:
            answer.error, answer.value = str(error), error.answer

    async def _take(self, session: Session, handler: str, data: bytes, answer: Answer) -> None:
        if handler != "fetch":
            answer.value = codec.decode_answer(data) if data else None
            return
        responder = answer.responder
        if not data:
            await session.response_settled()
            assert responder.started, "`fetch` returned 0 without a response"
        else:
            response = codec.decode_response(data)
            await responder.start(response.status, response.headers)
            await responder.write(response.body)
            if response.body_stream is not None:
                source = session.borrow_stream(response.body_stream)
                while part := await source.read():
                    await responder.write(part)
        answer.status = responder.status
        answer.headers = [(name.decode(), value.decode("latin-1")) for name, value in responder.headers]
        answer.body = bytes(responder.body)


def load(guest: Guest, code: bytes, seed: bytes = SEED) -> Any:
    return deploy_call(guest, "js_load", {"code": code, "seed": seed})


def tenant(
    source: str,
    *,
    env: WorkerEnv | None = None,
    others: Sequence[tuple[str, str, bytes]] = (),
    kind: str = "esm",
    limits: Mapping[str, int] | None = None,
    json_vars: Sequence[str] = (),
    flags: Sequence[str] = (),
) -> Tenant:
    """A worker whose main module is `source`. Raises Refused."""
    modules = [("index.js", kind, source.encode()), *others]
    return Tenant(
        modules,
        "index.js",
        env or WorkerEnv(),
        replace(FETCH_LIMITS, **(limits or {})),
        [(name, str(BindingKind.JSON)) for name in json_vars],
        flags,
    )


def handler(body: str, top: str = "") -> str:
    """A module whose fetch handler has this body."""
    return f"{top}\nexport default {{ async fetch(request, env, ctx) {{ {body} }} }};"
