"""The pages of a guest's memory: which it has written to; of a dead one how many it touched, and giving them back.

wasmtime gives them back in batches, in whichever thread fills the batch: gigabytes would wait for that, and then
hold up the loop when a small guest's end is what fills it.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import re
from typing import Final

#: Of what mincore says of a page; its other bits the kernel keeps to itself.
_IS_RESIDENT: Final = bytes(state & 1 for state in range(256))

#: Of a page's entry in the page map (8 bytes, little-endian), the byte with these bits: it is in memory, it is swapped
#: out, it is a file's. A page that was written to is the process's own from then on.
_PRESENT, _SWAPPED, _OF_A_FILE = 0x80, 0x40, 0x20
_IS_WRITTEN: Final = bytes(
    bool(state & _SWAPPED or (state & _PRESENT and not state & _OF_A_FILE)) for state in range(256)
)
_ENTRY_BYTES: Final = 8

_libc: Final = ctypes.CDLL(None)
_mincore: Final = _libc.mincore
_mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
_mincore.restype = ctypes.c_int
_madvise: Final = _libc.madvise
_madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_madvise.restype = ctypes.c_int


class PageMap:
    """What the kernel tells this process of its own pages, for its whole life. Raises OSError where it does not.

    Open it before there are rights to lose: who has lost them can still read it, and learns of nobody else's memory.
    Source: Linux, Documentation/admin-guide/mm/pagemap.rst.
    """

    def __init__(self) -> None:
        self._descriptor = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        """Once."""
        os.close(self._descriptor)

    def written(self, base: int, size: int) -> list[tuple[int, int]]:
        """Stretches (offset from `base`, bytes) of private memory outside of which nothing was written to since it was
        mapped: whole pages. All of it where the kernel does not say. `base` starts a page.
        """
        wanted = -(-size // mmap.PAGESIZE) * _ENTRY_BYTES
        try:
            told = os.pread(self._descriptor, wanted, base // mmap.PAGESIZE * _ENTRY_BYTES)
        except OSError:
            told = b""
        if len(told) != wanted:
            return [(0, size)]
        states = told[_ENTRY_BYTES - 1 :: _ENTRY_BYTES].translate(_IS_WRITTEN)
        return [
            (found.start() * mmap.PAGESIZE, len(found[0]) * mmap.PAGESIZE)
            for found in re.finditer(b"\1+", states)
        ]


def give_back(base: int, size: int) -> int:
    """The pages of `size` bytes from `base` are as they were mapped again: zero, or the module's data. The bytes of
    them that were resident. `base` starts a page. 128 MiB take 20 to 150 ms, without the GIL.
    """
    states = (ctypes.c_char * -(-size // mmap.PAGESIZE))()
    if _mincore(base, size, states) != 0:
        return 0
    touched = states.raw.translate(_IS_RESIDENT).count(1)
    _madvise(base, size, mmap.MADV_DONTNEED)
    return touched * mmap.PAGESIZE
