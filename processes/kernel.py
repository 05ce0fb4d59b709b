"""Calls into the kernel that Python has no function for. With runtime.capi the only place with ctypes."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Final

from processes.syscalls import MACHINES, number

_library: Final = ctypes.CDLL(None, use_errno=True)
_library.syscall.restype = ctypes.c_long
_library.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
_library.prctl.restype = ctypes.c_int

MACHINE: Final = os.uname().machine

_SET_MODE_FILTER: Final = 1
_GET_ACTION_AVAILABLE: Final = 2
_ALL_THREADS: Final = 1  # SECCOMP_FILTER_FLAG_TSYNC
_RETURN_ERRNO: Final = 0x0005_0000


def prctl(option: int, *arguments: int) -> int:
    """Raises OSError."""
    given = [*arguments, 0, 0, 0, 0][:4]
    return _checked(_library.prctl(option, *given), f"prctl {option}")


def call(name: str, *arguments: int | bytes | None) -> int:
    """One system call of processes.syscalls; bytes are handed over by address, to be read. Raises OSError,
    with ENOSYS on a machine that is not in the table.
    """
    wanted = number(name, MACHINE) if MACHINE in MACHINES else None
    if wanted is None:
        raise OSError(38, os.strerror(38), name)
    given = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    return _checked(int(_library.syscall(ctypes.c_long(wanted), *given)), name)


def has_filters() -> bool:
    """Can this process be given a filter of system calls (seccomp(2), Linux 3.17 and later)?"""
    try:
        call("seccomp", _GET_ACTION_AVAILABLE, 0, struct.pack("=I", _RETURN_ERRNO))
    except OSError:
        return False
    return True


def install_filter(program: bytes) -> None:
    """`program` is instructions of 8 bytes (struct sock_filter), for every thread. Raises OSError."""
    code = ctypes.create_string_buffer(program, len(program))
    described = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    thread = call("seccomp", _SET_MODE_FILTER, _ALL_THREADS, described)
    if thread:
        raise OSError(16, "another thread has a filter of its own", f"seccomp, thread {thread}")


def held_capabilities() -> int:
    """The permitted set, a bit each. Raises OSError."""
    words = ctypes.create_string_buffer(24)
    call("capget", _CAPABILITY_HEADER, ctypes.addressof(words))
    _, low, _, _, high, _ = struct.unpack("=6I", words.raw)
    return int(low) | int(high) << 32


def hold_capabilities(mask: int) -> None:
    """Effective and permitted become `mask`, inheritable none, of the calling thread. Raises OSError."""
    low, high = mask & 0xFFFF_FFFF, mask >> 32
    call("capset", _CAPABILITY_HEADER, struct.pack("=6I", low, low, 0, high, high, 0))


#: _LINUX_CAPABILITY_VERSION_3, and 0 for the calling thread.
_CAPABILITY_HEADER: Final = struct.pack("=Ii", 0x2008_0522, 0)


def _checked(result: int, what: str) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), what)
    return result
