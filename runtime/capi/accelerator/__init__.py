"""An optional module of C that says in one call to wasmtime what nearly every event needs.

Through ctypes a hello is 25 calls: make a store, bound it, instantiate, look up three exports, call `alloc`, copy,
call the handler, copy, delete. `guest.c` does the same in one, without the GIL, and leaves the frame
(`runtime.capi.frame`) at any point as the ctypes driver would, which goes on from there. The tick's callback and
the imports `call` and `take` are C too, and enter Python only to refuse something.

It is built where there is a C compiler (`make setup`); elsewhere, or with `--accelerator off`, ctypes does all of it.
"""

from __future__ import annotations

from typing import Final

#: Whether it is used: when it is there, in any case, never.
MODES: Final = ("auto", "on", "off")
