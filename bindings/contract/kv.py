"""KV namespaces."""

from __future__ import annotations

from typing import Final

from bindings.contract.notes import KIB, MIB, STORAGE, OperationNotes, Rows
from bindings.kv import (
    GET_MANY_KEYS,
    INLINE_BYTES,
    INLINE_BYTES_TOGETHER,
    KEY_BYTES,
    LEAST_CACHE_TTL_S,
    LEAST_TTL_S,
    LIST_LIMIT,
    METADATA_BYTES,
    VALUE_BYTES,
    kv_compare_and_swap,
    kv_delete,
    kv_get,
    kv_get_many,
    kv_increment,
    kv_list,
    kv_put,
)
from model.errors import OperationErrorCode as Code
from model.scripts import BindingKind
from storage.kv_protocol import CACHE_TTL_S

_ENTRY = (
    f"{{value: bin, metadata: any | nil, expiration: int (UNIX s) | nil}}; above {INLINE_BYTES // KIB} KiB "
    "{value_stream: stream id, size: int, metadata, expiration}"
)
_KV_WRITE = (*STORAGE, (Code.NOT_FOUND, "the namespace was deleted"))

KV: Final[Rows] = (
    (
        OperationNotes(
            "kv.get",
            "Read one value.",
            (
                ("key", "str"),
                ("options?", f"{{cache_ttl?: int (s, {LEAST_CACHE_TTL_S} or more; {CACHE_TTL_S})}}"),
            ),
            f"nil when absent or expired; {_ENTRY}",
            STORAGE,
            (
                f"key 1 to {KEY_BYTES} bytes of UTF-8, not `.` or `..`",
                "never stale on SQLite; on PostgreSQL what was read up to `cache_ttl` ago may be answered, but for "
                "writes that are older than a second",
            ),
            BindingKind.KV_NAMESPACE,
            True,
            wasi=(
                "wasi:keyvalue/store#bucket.get",
                "wasi:keyvalue/store#bucket.exists",
            ),
        ),
        kv_get,
    ),
    (
        OperationNotes(
            "kv.get_many",
            "Read several values as of one moment.",
            (("keys", "[str…]"), ("options?", "{cache_ttl?: int} (no effect: it reads what is stored now)")),
            "{key: nil | entry…}, every key asked for, an entry as of kv.get; values are also streams when "
            f"the inline ones together would be above {INLINE_BYTES_TOGETHER // KIB} KiB",
            (*STORAGE, (Code.LIMIT_EXCEEDED, f"the values together are above {VALUE_BYTES // MIB} MiB")),
            (f"1 to {GET_MANY_KEYS} keys",),
            BindingKind.KV_NAMESPACE,
            True,
            wasi=("wasi:keyvalue/batch#get-many",),
        ),
        kv_get_many,
    ),
    (
        OperationNotes(
            "kv.put",
            "Write one value, durably: value, metadata and expiration are replaced together.",
            (
                ("key", "str"),
                ("value", "bin | str (as UTF-8) | {stream: stream id}"),
                (
                    "options?",
                    "{expiration?: int (UNIX s), expiration_ttl?: int (s; wins), metadata?: any JSON value}",
                ),
            ),
            "nil",
            (
                *_KV_WRITE,
                (Code.CLOSED_STREAM, "the value's stream was closed, or broke off: nothing was written"),
                (Code.UPSTREAM_FAILED, "the value's stream failed: nothing was written"),
            ),
            (
                f"value {VALUE_BYTES // MIB} MiB",
                f"metadata {METADATA_BYTES} bytes of JSON, without bytes, NaN and infinities",
                f"expiration at least {LEAST_TTL_S} s from now",
            ),
            BindingKind.KV_NAMESPACE,
            True,
            wasi=(
                "wasi:keyvalue/store#bucket.set",
                "wasi:keyvalue/batch#set-many",
            ),
        ),
        kv_put,
    ),
    (
        OperationNotes(
            "kv.increment",
            "Add to a value that is an integer in decimal, as one step; what is absent counts as 0. Metadata and "
            "expiration stay.",
            (("key", "str"), ("delta?", "int (64 bits; 1)")),
            "int, the new value",
            (
                *_KV_WRITE,
                (Code.INVALID_ARGUMENT, "the value is no integer of 64 bits, or the sum would be none"),
            ),
            (),
            BindingKind.KV_NAMESPACE,
            True,
            wasi=("wasi:keyvalue/atomics#increment",),
        ),
        kv_increment,
    ),
    (
        OperationNotes(
            "kv.compare_and_swap",
            "Write one value if the one that is there is the one expected, as one step.",
            (
                ("key", "str"),
                ("expected", "bin | str (as UTF-8) | nil (there is none)"),
                ("value", "as of kv.put"),
                ("options?", "as of kv.put"),
            ),
            "bool: whether it was written",
            (
                *_KV_WRITE,
                (Code.CLOSED_STREAM, "the value's stream was closed, or broke off: nothing was written"),
                (Code.UPSTREAM_FAILED, "the value's stream failed: nothing was written"),
            ),
            ("values are compared, not versions: one that was changed and changed back is as expected",),
            BindingKind.KV_NAMESPACE,
            True,
            wasi=("wasi:keyvalue/atomics#swap",),
        ),
        kv_compare_and_swap,
    ),
    (
        OperationNotes(
            "kv.delete",
            "Delete one key; one that is not there is no error.",
            (("key", "str"),),
            "nil",
            STORAGE,
            (),
            BindingKind.KV_NAMESPACE,
            True,
            wasi=(
                "wasi:keyvalue/store#bucket.delete",
                "wasi:keyvalue/batch#delete-many",
            ),
        ),
        kv_delete,
    ),
    (
        OperationNotes(
            "kv.list",
            "List keys in UTF-8 byte order. The cursor stays right while keys are written.",
            (("options?", f"{{prefix?: str, limit?: int (1 to {LIST_LIMIT}, the default), cursor?: str}}"),),
            "{keys: [{name: str, expiration?: int, metadata?: any}…], list_complete: bool, cursor?: str}; "
            "`cursor` only when `list_complete` is false",
            (*STORAGE, (Code.INVALID_ARGUMENT, "a cursor that no listing with this prefix gave")),
            ("a page ends before `limit` at 512 KiB of names and metadata",),
            BindingKind.KV_NAMESPACE,
            True,
            wasi=("wasi:keyvalue/store#bucket.list-keys",),
        ),
        kv_list,
    ),
)
