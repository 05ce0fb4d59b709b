"""What a process asks the kernel to hold it to. The only module besides runtime.capi with ctypes.

Source: prctl(2), getrlimit(2).
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38


def die_with_parent(parent_pid: int) -> None:
    """From now on SIGKILL comes when the process (its thread, in fact) that started this one ends.

    SIGKILL, since what was acknowledged survives it, and a process without its supervisor would keep its
    port and its place in the data folder. `parent_pid` is who should be the parent: if it has died before
    we could ask, this process ends here.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGKILL)


def no_new_privileges() -> None:
    """No exec from here on gains privileges (set-uid, file capabilities), in children neither."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def no_core_dumps() -> None:
    """Memory holds keys and tenants' data; a core file would keep them."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def raise_file_limit() -> int:
    """Descriptors as many as the hard limit allows (a connection each); the number that is now allowed."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def _prctl(option: int, argument: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    prctl = library.prctl
    prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
    prctl.restype = ctypes.c_int
    if prctl(option, argument, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), f"prctl {option}")
