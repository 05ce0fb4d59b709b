"""The functions that a worker may import and those that the host looks for, with their types.

Sources: docs/guest-abi.md for `tenantry_v1`; the witx of `wasi_snapshot_preview1` (WASI phase
snapshot/preview1, lowered to core types) for WASI, all of it, since toolchains emit imports that a program
never calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

ABI_MODULE: Final = "tenantry_v1"
WASI_MODULE: Final = "wasi_snapshot_preview1"


class FunctionType(NamedTuple):
    """Value types by their names in the text format: i32, i64, f32, f64, v128, funcref."""

    params: tuple[str, ...]
    results: tuple[str, ...]

    def __str__(self) -> str:
        # A hostile type has up to a thousand parameters, and this ends up in messages.
        params = ", ".join(self.params[:20]) + (", …" if len(self.params) > 20 else "")
        if len(self.results) == 1:
            return f"({params}) -> {self.results[0]}"
        results = ", ".join(self.results[:20]) + (", …" if len(self.results) > 20 else "")
        return f"({params}) -> ({results})"


def _type(params: str, results: str = "") -> FunctionType:
    return FunctionType(tuple(params.split()), tuple(results.split()))


def _errno(params: str) -> FunctionType:
    return _type(params, "i32")


ABI_SIGNATURES: Final[Mapping[str, FunctionType]] = MappingProxyType(
    {
        "call": _type("i32 i32", "i32"),
        "take": _type("i32 i32 i32", "i32"),
        "log": _type("i32 i32 i32"),
    }
)

WASI_SIGNATURES: Final[Mapping[str, FunctionType]] = MappingProxyType(
    {
        "args_get": _errno("i32 i32"),
        "args_sizes_get": _errno("i32 i32"),
        "environ_get": _errno("i32 i32"),
        "environ_sizes_get": _errno("i32 i32"),
        "clock_res_get": _errno("i32 i32"),
        "clock_time_get": _errno("i32 i64 i32"),
        "fd_advise": _errno("i32 i64 i64 i32"),
        "fd_allocate": _errno("i32 i64 i64"),
        "fd_close": _errno("i32"),
        "fd_datasync": _errno("i32"),
        "fd_fdstat_get": _errno("i32 i32"),
        "fd_fdstat_set_flags": _errno("i32 i32"),
        "fd_fdstat_set_rights": _errno("i32 i64 i64"),
        "fd_filestat_get": _errno("i32 i32"),
        "fd_filestat_set_size": _errno("i32 i64"),
        "fd_filestat_set_times": _errno("i32 i64 i64 i32"),
        "fd_pread": _errno("i32 i32 i32 i64 i32"),
        "fd_prestat_get": _errno("i32 i32"),
        "fd_prestat_dir_name": _errno("i32 i32 i32"),
        "fd_pwrite": _errno("i32 i32 i32 i64 i32"),
        "fd_read": _errno("i32 i32 i32 i32"),
        "fd_readdir": _errno("i32 i32 i32 i64 i32"),
        "fd_renumber": _errno("i32 i32"),
        "fd_seek": _errno("i32 i64 i32 i32"),
        "fd_sync": _errno("i32"),
        "fd_tell": _errno("i32 i32"),
        "fd_write": _errno("i32 i32 i32 i32"),
        "path_create_directory": _errno("i32 i32 i32"),
        "path_filestat_get": _errno("i32 i32 i32 i32 i32"),
        "path_filestat_set_times": _errno("i32 i32 i32 i32 i64 i64 i32"),
        "path_link": _errno("i32 i32 i32 i32 i32 i32 i32"),
        "path_open": _errno("i32 i32 i32 i32 i32 i64 i64 i32 i32"),
        "path_readlink": _errno("i32 i32 i32 i32 i32 i32"),
        "path_remove_directory": _errno("i32 i32 i32"),
        "path_rename": _errno("i32 i32 i32 i32 i32 i32"),
        "path_symlink": _errno("i32 i32 i32 i32 i32"),
        "path_unlink_file": _errno("i32 i32 i32"),
        "poll_oneoff": _errno("i32 i32 i32 i32"),
        "proc_exit": _type("i32"),
        "proc_raise": _errno("i32"),
        "sched_yield": _errno(""),
        "random_get": _errno("i32 i32"),
        "sock_accept": _errno("i32 i32 i32"),
        "sock_recv": _errno("i32 i32 i32 i32 i32 i32"),
        "sock_send": _errno("i32 i32 i32 i32 i32"),
        "sock_shutdown": _errno("i32 i32"),
    }
)

#: Import module → its functions. Nothing else exists.
IMPORT_SIGNATURES: Final[Mapping[str, Mapping[str, FunctionType]]] = MappingProxyType(
    {ABI_MODULE: ABI_SIGNATURES, WASI_MODULE: WASI_SIGNATURES}
)

ALLOC_SIGNATURE: Final = _type("i32", "i32")
HANDLER_SIGNATURE: Final = _type("i32 i32", "i64")
INITIALIZE_SIGNATURE: Final = _type("")
#: Exports that answer events, by the trigger's name.
HANDLERS: Final = ("fetch", "queue", "scheduled", "tail")
