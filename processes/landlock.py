"""Landlock: which files, ports and processes this process may reach, by its own word. Linux 5.13 and later.

Source: landlock(7), linux/landlock.h. It holds the calling thread and the threads that it starts; files that
are open stay open. A rule is about the file that its path means now: one that is made anew later is another.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from processes import kernel

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE, _IOCTL_DEVICE = 1 << 14, 1 << 15
_ON_A_FILE: Final = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE

READ: Final = _READ_FILE | _READ_DIR
#: Of a file that is there: read it, write to it, cut it.
WRITE: Final = _READ_FILE | _WRITE_FILE | _TRUNCATE
#: Of a folder: make, use and remove files in it.
SCRATCH: Final = WRITE | _READ_DIR | 1 << 5 | 1 << 8  # remove files, make regular ones
#: Of a folder: that, folders too, and to move files from one to another.
OWN: Final = SCRATCH | 1 << 4 | 1 << 7 | 1 << 13  # remove folders, make them, rename across them
#: Read it, and start it as a program.
RUN: Final = READ | _EXECUTE
#: Of a folder: the names in it, and beneath it.
LIST: Final = _READ_DIR
#: Before this ABI nothing can be moved from one folder to another, whatever the rules say.
RENAMES_SINCE: Final = 2

BIND_TCP: Final = 1 << 0
CONNECT_TCP: Final = 1 << 1

#: Connecting to abstract Unix sockets of others, and sending them signals.
_SCOPES: Final = 3

#: Rights over files that each ABI added: it refuses a ruleset that names later ones.
_FILE_RIGHTS: Final = ((1, (1 << 13) - 1), (2, 1 << 13), (3, _TRUNCATE), (5, _IOCTL_DEVICE))
_TCP_SINCE: Final = 4
_SCOPES_SINCE: Final = 6

_VERSION: Final = 1
_PATH_BENEATH: Final = 1
_NET_PORT: Final = 2


@dataclass(frozen=True, slots=True)
class FileRule:
    """`rights` (READ, WRITE, SCRATCH) over a file, or over all beneath a folder."""

    path: Path
    rights: int


def abi() -> int:
    """The newest ABI of this kernel; 0 when it has none, or it was not switched on at boot."""
    try:
        return kernel.call("landlock_create_ruleset", None, 0, _VERSION)
    except OSError:
        return 0


def restrict(
    version: int,
    *,
    files: Sequence[FileRule] | None,
    no_tcp: int,
    alone: bool,
    connect_ports: Sequence[int] = (),
) -> tuple[str, ...]:
    """Hold this thread to `files` (None: files are left alone), deny it the `no_tcp` actions, but to connect to
    `connect_ports`, and, with `alone`, the processes outside. `version` is the ABI to use, at least 1; what it lacks
    is left out. The names of what is in force. Needs no_new_privs. Raises OSError.
    """
    over_files = 0 if files is None else sum(rights for since, rights in _FILE_RIGHTS if since <= version)
    over_tcp = no_tcp if version >= _TCP_SINCE else 0
    scopes = _SCOPES if alone and version >= _SCOPES_SINCE else 0
    if not (over_files or over_tcp or scopes):
        return ()
    size = 8 if version < _TCP_SINCE else 16 if version < _SCOPES_SINCE else 24
    ruleset = kernel.call(
        "landlock_create_ruleset", struct.pack("=QQQ", over_files, over_tcp, scopes)[:size], size, 0
    )
    try:
        for rule in files or ():
            _add(ruleset, rule, over_files)
        for port in connect_ports if over_tcp & CONNECT_TCP else ():
            kernel.call("landlock_add_rule", ruleset, _NET_PORT, struct.pack("=QQ", CONNECT_TCP, port), 0)
        kernel.call("landlock_restrict_self", ruleset, 0)
    finally:
        os.close(ruleset)
    return tuple(word for word, held in (("files", over_files), ("tcp", over_tcp), ("scope", scopes)) if held)


def _add(ruleset: int, rule: FileRule, handled: int) -> None:
    """A path that is not there, or that we can't reach, needs no rule."""
    try:
        descriptor = os.open(rule.path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        rights = rule.rights & handled & (handled if is_folder else _ON_A_FILE)
        kernel.call("landlock_add_rule", ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, descriptor), 0)
    finally:
        os.close(descriptor)


def readable(paths: Iterable[Path], hidden: Iterable[Path], rights: int = READ) -> list[FileRule]:
    """Rules to read (or `rights`) `paths`, resolved, without what is `hidden`. A rule gives all beneath a folder,
    so one that holds something hidden is replaced by what else is in it now.
    """
    secrets = [path.resolve() for path in hidden]
    found: dict[Path, None] = {}
    waiting = [path.resolve() for path in paths]
    while waiting:
        path = waiting.pop()
        if path in found or any(path.is_relative_to(secret) for secret in secrets):
            continue
        if any(secret.is_relative_to(path) for secret in secrets):
            try:
                waiting += [(path / name).resolve() for name in os.listdir(path)]
            except OSError:
                pass  # what can't be listed can't be given
        else:
            found[path] = None
    return [FileRule(path, rights) for path in found]
