"""A small guest that hands each import through, so that a test can call it with any arguments."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from runtime.abi.core_module.host_calls import GuestIo
from runtime.capi.accelerated_guest import open_guest
from runtime.capi.guest import Guest
from runtime.linking import make_linker
from runtime.signatures import ABI_MODULE, ABI_SIGNATURES, WASI_MODULE, WASI_SIGNATURES, FunctionType
from tests.support.guests import engine, wat

PAGE = 65_536


def _types(name: str) -> tuple[str, FunctionType]:
    if name in ABI_SIGNATURES:
        return ABI_MODULE, ABI_SIGNATURES[name]
    return WASI_MODULE, WASI_SIGNATURES[name]


def calling_module(name: str, arguments: tuple[int, ...]) -> bytes:
    """A module of one page whose `fetch` calls the import `name`, and answers its result, or 4242."""
    module, signature = _types(name)
    params = " ".join(signature.params)
    results = f"(result {' '.join(signature.results)})" if signature.results else ""
    given = " ".join(
        f"({kind}.const {value})" for kind, value in zip(signature.params, arguments, strict=True)
    )
    body = f"(call $f {given})"
    body = f"(i64.extend_i32_u {body})" if signature.results else f"{body} (i64.const 4242)"
    return wat(
        f"""(module (import "{module}" "{name}" (func $f (param {params}) {results}))
          (memory (export "memory") 1)
          (func (export "alloc") (param i32) (result i32) i32.const 0)
          (func (export "fetch") (param i32 i32) (result i64) {body}))"""
    )


class Caller:
    """One guest of one page; `call` runs the import once, and raises what it ended with."""

    def __init__(self, guest: Guest, io: GuestIo) -> None:
        self.guest = guest
        self.io = io

    def call(self) -> int:
        guest = self.guest
        guest.begin_call("handler", 0, 0)
        while not guest.poll():
            assert guest.wanted is None, "it waits for the host"
        guest.finish()
        return guest.result_i64()

    def u32(self, pointer: int) -> int:
        return int.from_bytes(self.guest.read(pointer, 4), "little")

    def u64(self, pointer: int) -> int:
        return int.from_bytes(self.guest.read(pointer, 8), "little")

    def put(self, pointer: int, *words: int) -> None:
        self.guest.write(pointer, b"".join(word.to_bytes(4, "little") for word in words))


@contextmanager
def caller(name: str, *arguments: int, io: GuestIo | None = None) -> Iterator[Caller]:
    module = engine().compile(calling_module(name, arguments))
    pre = make_linker(engine()).instantiate_pre(module)
    owned = io or GuestIo(10, 1000)
    guest = open_guest(engine(), PAGE, 10**9, owned)
    try:
        guest.begin_instantiate(pre)
        while not guest.poll():
            pass
        guest.finish()
        guest.find_exports("fetch", needs_alloc=True)
        yield Caller(guest, owned)
    finally:
        guest.close()
        pre.close()
        module.close()
