"""Instances of the JavaScript engine that ended well and were put back to how they began: docs/decisions/0020.

Making an instance and deleting it, and the faults of its pages, cost more than most of its events do. What can change
in one is its memory and its stack's pointer: runtime/capi/accelerator/spares.c sees that both are as they were. The
accelerator alone does it; without it, or where the kernel can't say which pages were written, each event has an
instance that was just made.
"""

from __future__ import annotations

import weakref

from runtime.capi.accelerated_guest import AcceleratedGuest
from runtime.capi.accelerator.loading import load
from runtime.capi.engine_store import Engine
from runtime.capi.failures import CapiError
from runtime.capi.linker import InstancePre

_MEMORY_BYTES = 128 << 20
_CPU_NS = 1_000_000_000


class Spares:
    """Those of one module. They are deleted with this, which every guest holds that may take one or leave one."""

    __slots__ = ("__weakref__", "handle")

    def __init__(self, handle: int) -> None:
        self.handle = handle
        # Not when the interpreter exits: its engine is never deleted either.
        weakref.finalize(self, load().drop_spares, handle).atexit = False


def make_spares(engine: Engine, pre: InstancePre, handler: str) -> Spares | None:
    """For instances of `pre`, which exports `handler`: how they begin is looked up in a fresh one.

    Only for a module whose instances can be put back: javascript/engine/snapshot.py sees to it that its engine's can.
    """
    if not engine.accelerated:
        return None
    fresh = AcceleratedGuest(engine, _MEMORY_BYTES, _CPU_NS)
    try:
        fresh.begin_instantiate(pre)
        while not fresh.poll():
            pass
        fresh.finish()
        fresh.find_exports(handler, needs_alloc=True)
        handle = fresh.spares()
    except CapiError:
        return None
    finally:
        fresh.close()
    return Spares(handle) if handle else None
