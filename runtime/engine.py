"""Make the process's engine, and prove that a guest's trap is caught before anything is served.

Wasm traps are signals (SIGSEGV, SIGILL, SIGFPE) that the library turns into errors. Whoever installs a
handler for one of them afterwards (`faulthandler` does) turns an ordinary trap into the end of the process;
so the proof is made last, and what it finds is an error with a name.
"""

from __future__ import annotations

import faulthandler
from typing import Final

from runtime.capi.engine_store import Engine, EngineSettings
from runtime.capi.failures import GuestTrap, TrapCode
from runtime.capi.guest import Guest
from runtime.linking import make_linker

#: (module (memory (export "memory") 1) (func $start unreachable) (start $start)), in binary.
_TRAPPING_MODULE: Final = bytes.fromhex(
    "0061736d01000000010401600000030201000503010001070a01066d656d6f727902000801000a05010300000b"
)


class TrapsNotCaught(Exception):
    """A guest's trap would end this process; it must not serve."""


def start_engine(settings: EngineSettings | None = None) -> Engine:
    """The process's one engine. Raises TrapsNotCaught, and CapiError when it can't be made."""
    if faulthandler.is_enabled():
        raise TrapsNotCaught(
            "faulthandler is enabled in this process and takes the signals that wasm traps use: "
            "start without -X faulthandler, PYTHONFAULTHANDLER and python's dev mode"
        )
    engine = Engine(settings or EngineSettings())
    prove_traps_are_caught(engine)
    return engine


def prove_traps_are_caught(engine: Engine) -> None:
    """Run a guest that traps, on purpose."""
    module = engine.compile(_TRAPPING_MODULE)
    pre = make_linker(engine).instantiate_pre(module)
    guest = Guest(engine, 1 << 20, 1_000_000_000)
    try:
        guest.begin_instantiate(pre)
        while not guest.poll():
            pass
        guest.finish()
    except GuestTrap as trap:
        if trap.code != TrapCode.UNREACHABLE:
            raise TrapsNotCaught(f"the deliberate trap came back as another one: {trap}") from trap
        return
    finally:
        guest.close()
        pre.close()
        module.close()
    raise TrapsNotCaught("a module that always traps did not")
