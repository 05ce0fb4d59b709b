"""WASI preview 1, as far as a worker gets it: clocks, randomness, arguments, environment, stdout and stderr.

No files, no sockets, no sleeping: the rest answers an errno, since toolchains link functions that a worker
never calls. All of it is ours; wasmtime's own WASI is never linked, because it would reach the machine.
Source: wasi_snapshot_preview1.witx.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final

from runtime.abi.core_module.host_calls import GuestIo
from runtime.capi.guest import AbiViolation, Guest

SUCCESS, BADF, FAULT, INVAL, NOSYS, NOTCAPABLE = 0, 8, 21, 28, 52, 76
#: Bytes of one fd_write: more is a short write.
_CHUNK: Final = 64 * 1024
#: Bytes of one random_get, which knows no short answer and which no tick interrupts: 3 ms.
_RANDOM_BYTES: Final = 1 << 20
_IOVECS: Final = 1024
_CLOCK_RESOLUTION_NS: Final = 1_000_000


class GuestExit(Exception):
    """The guest called proc_exit: for a worker, which answers by returning, that is an exception."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the worker ended itself with proc_exit({code})")
        self.code = code


def _u32(value: int) -> bytes:
    return value.to_bytes(4, "little")


def _u64(value: int) -> bytes:
    return value.to_bytes(8, "little")


def clock_res_get(guest: Guest, clock: int, out: int) -> int:
    if clock > 3:
        return INVAL
    guest.write(out, _u64(_CLOCK_RESOLUTION_NS))
    return SUCCESS


def clock_time_get(guest: Guest, clock: int, _precision: int, out: int) -> int:
    """Untrusted namespaces see a clock that stands still between host operations, at 1 ms."""
    if clock > 3:
        return INVAL
    now = guest.clock_ns
    guest.write(out, _u64(time.time_ns() if now is None else now))
    return SUCCESS


def random_get(guest: Guest, pointer: int, size: int) -> int:
    if size > _RANDOM_BYTES:
        return INVAL
    if pointer + size > guest.memory_size():
        return FAULT
    done = 0
    while done < size:
        chunk = min(size - done, _CHUNK)
        guest.write(pointer + done, os.urandom(chunk))
        done += chunk
    return SUCCESS


def args_sizes_get(guest: Guest, count: int, size: int) -> int:
    guest.write(count, _u32(1))
    guest.write(size, _u32(len(b"worker\0")))
    return SUCCESS


def args_get(guest: Guest, argv: int, buffer: int) -> int:
    guest.write(argv, _u32(buffer))
    guest.write(buffer, b"worker\0")
    return SUCCESS


def environ_sizes_get(guest: Guest, count: int, size: int) -> int:
    variables = _io(guest).variables
    guest.write(count, _u32(len(variables)))
    guest.write(size, _u32(sum(map(len, variables))))
    return SUCCESS


def environ_get(guest: Guest, environ: int, buffer: int) -> int:
    for variable in _io(guest).variables:
        guest.write(environ, _u32(buffer & 0xFFFF_FFFF))
        guest.write(buffer, variable)
        environ += 4
        buffer += len(variable)
    return SUCCESS


def fd_write(guest: Guest, fd: int, iovecs: int, count: int, written: int) -> int:
    if fd not in (1, 2):
        return BADF
    if count > _IOVECS:
        return INVAL
    table = guest.read(iovecs, 8 * count)
    total = 0
    parts = []
    for index in range(count):
        pointer = int.from_bytes(table[8 * index : 8 * index + 4], "little")
        size = int.from_bytes(table[8 * index + 4 : 8 * index + 8], "little")
        size = min(size, _CHUNK - total)
        parts.append(guest.read(pointer, size))
        total += size
        if total == _CHUNK:
            break
    io = _io(guest)
    data = b"".join(parts)
    if io.bytes_left > 0:
        if fd == 1:
            io.stdout = _lines(io, 1, io.stdout + data)
        else:
            io.stderr = _lines(io, 3, io.stderr + data)
    elif data:
        io.dropped += 1
    guest.write(written, _u32(total))
    return SUCCESS


def _lines(io: GuestIo, level: int, text: bytes) -> bytes:
    """Log the whole lines of `text`; what is left is an unfinished one."""
    *whole, rest = text.split(b"\n", max(0, io.lines_left))
    for line in whole:
        keep = io.room_for(len(line) + 1)
        if keep:
            io.lines.append((level, line[:keep]))
    if b"\n" in rest:  # over the limit: counted together, since 64 KiB of line ends are many lines
        io.dropped += rest.count(b"\n")
        rest = rest[rest.rindex(b"\n") + 1 :]
    if len(rest) > _CHUNK:
        keep = io.room_for(len(rest))
        if keep:
            io.lines.append((level, rest[:keep]))
        return b""
    return rest


def flush(io: GuestIo) -> None:
    """At the end of an event: what was written without a line end is a line too."""
    if not (io.stdout or io.stderr):
        return
    for level, rest in ((1, io.stdout), (3, io.stderr)):
        if rest:
            keep = io.room_for(len(rest))
            if keep:
                io.lines.append((level, rest[:keep]))
    io.stdout = io.stderr = b""


def fd_fdstat_get(guest: Guest, fd: int, out: int) -> int:
    if fd > 2:
        return BADF
    # filetype character_device, no flags, rights to write only
    guest.write(out, bytes([2, 0, 0, 0, 0, 0, 0, 0]) + _u64(1 << 6) + _u64(0))
    return SUCCESS


def fd_read(guest: Guest, fd: int, _iovecs: int, _count: int, read: int) -> int:
    if fd != 0:
        return BADF
    guest.write(read, _u32(0))
    return SUCCESS


def fd_known(_guest: Guest, fd: int, *_rest: int) -> int:
    return NOTCAPABLE if fd <= 2 else BADF


def fd_close(_guest: Guest, fd: int) -> int:
    return SUCCESS if fd <= 2 else BADF


def no_descriptor(_guest: Guest, *_rest: int) -> int:
    return BADF


def not_supported(_guest: Guest, *_rest: int) -> int:
    return NOSYS


def sched_yield(_guest: Guest) -> int:
    return SUCCESS


def proc_exit(_guest: Guest, code: int) -> None:
    raise GuestExit(code)


def _io(guest: Guest) -> GuestIo:
    data = guest.data
    if not isinstance(data, GuestIo):
        raise AbiViolation("WASI is not available while a module starts")
    return data


#: All of preview 1; runtime.signatures has the types.
WASI_FUNCTIONS: Final[dict[str, Callable[..., int | None]]] = {
    "args_get": args_get,
    "args_sizes_get": args_sizes_get,
    "environ_get": environ_get,
    "environ_sizes_get": environ_sizes_get,
    "clock_res_get": clock_res_get,
    "clock_time_get": clock_time_get,
    "fd_advise": fd_known,
    "fd_allocate": fd_known,
    "fd_close": fd_close,
    "fd_datasync": fd_known,
    "fd_fdstat_get": fd_fdstat_get,
    "fd_fdstat_set_flags": fd_known,
    "fd_fdstat_set_rights": fd_known,
    "fd_filestat_get": fd_known,
    "fd_filestat_set_size": fd_known,
    "fd_filestat_set_times": fd_known,
    "fd_pread": fd_known,
    "fd_prestat_get": no_descriptor,
    "fd_prestat_dir_name": no_descriptor,
    "fd_pwrite": fd_known,
    "fd_read": fd_read,
    "fd_readdir": fd_known,
    "fd_renumber": fd_known,
    "fd_seek": fd_known,
    "fd_sync": fd_known,
    "fd_tell": fd_known,
    "fd_write": fd_write,
    "path_create_directory": no_descriptor,
    "path_filestat_get": no_descriptor,
    "path_filestat_set_times": no_descriptor,
    "path_link": no_descriptor,
    "path_open": no_descriptor,
    "path_readlink": no_descriptor,
    "path_remove_directory": no_descriptor,
    "path_rename": no_descriptor,
    "path_symlink": no_descriptor,
    "path_unlink_file": no_descriptor,
    "poll_oneoff": not_supported,
    "proc_exit": proc_exit,
    "proc_raise": not_supported,
    "random_get": random_get,
    "sched_yield": sched_yield,
    "sock_accept": no_descriptor,
    "sock_recv": no_descriptor,
    "sock_send": no_descriptor,
    "sock_shutdown": no_descriptor,
}
