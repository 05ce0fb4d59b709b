"""The contract: every operation that a guest can ask for, with its arguments, result, errors and limits.

`OPERATIONS` is what the runtime serves, through either ABI; `REFERENCE` says the same to a reader, with
what WASI calls it, and is what docs/bindings.md is made from. A row is here or the operation does not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from bindings.analytics import analytics_write
from bindings.cache import BODY_BYTES as CACHED_BYTES
from bindings.cache import cache_delete, cache_match, cache_put
from bindings.compression import FORMATS as COMPRESSIONS
from bindings.compression import OUTPUT_BYTES as DECOMPRESSED_BYTES
from bindings.compression import compression_compress, compression_decompress
from bindings.crypto import (
    DATA_BYTES,
    TAG_BYTES,
    crypto_decrypt,
    crypto_derive_bits,
    crypto_digest,
    crypto_encrypt,
    crypto_export_key,
    crypto_generate_key,
    crypto_import_key,
    crypto_sign,
    crypto_verify,
)
from bindings.crypto_algorithms import (
    CIPHERS,
    DERIVATIONS,
    DERIVED_BYTES,
    DIGESTS,
    ITERATIONS,
    KEY_PAIRS,
    SIGNATURES,
)
from bindings.crypto_keys import CURVES, LEAST_RSA_BITS, MOST_RSA_BITS
from bindings.crypto_streams import crypto_digest_stream
from bindings.d1 import d1_batch, d1_exec, d1_query
from bindings.dispatch_namespace import PARAM_BYTES, PARAM_COUNT, dispatch_fetch
from bindings.http_values import HEADER_BYTES, HEADER_COUNT, INLINE_BODY_BYTES, URL_BYTES
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
from bindings.outbound_fetch import fetch
from bindings.queues import (
    BATCH_BYTES,
    BATCH_MESSAGES,
    MESSAGE_BYTES,
    MOST_DELAY_S,
    queue_send,
    queue_send_batch,
)
from bindings.rate_limit import KEY_BYTES as RATE_KEY_BYTES
from bindings.rate_limit import rate_limit_limit
from bindings.secret_store import secret_get
from bindings.service import METHOD_CHARACTERS, service_call, service_fetch
from model.analytics import BLOB_BYTES, BLOBS, DOUBLES, INDEX_BYTES, POINTS
from model.call_egress import MAX_EGRESS_HOSTS
from model.capabilities import GuestEvent, Operation, OperationResult, OperationTable
from model.errors import OperationErrorCode as Code
from model.scripts import BindingKind
from storage.d1 import limits as d1_limits
from storage.kv_protocol import CACHE_TTL_S

#: Any operation may answer these; they are not repeated in the rows.
COMMON_ERRORS: Final = (
    Code.UNKNOWN_OPERATION,
    Code.UNKNOWN_BINDING,
    Code.INVALID_ARGUMENT,
    Code.LIMIT_EXCEEDED,
    Code.CANCELLED,
    Code.INTERNAL,
)

_KIB = 1024
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class OperationNotes:
    """One operation, for the reader. Shapes are in the notation of docs/bindings.md."""

    name: str
    summary: str
    #: Name and shape of each argument after the binding; `?` marks those that may be left out.
    arguments: tuple[tuple[str, str], ...]
    result: str
    #: Beyond COMMON_ERRORS.
    errors: tuple[tuple[Code, str], ...] = ()
    limits: tuple[str, ...] = ()
    #: The `type` of the binding in upload metadata; None: the operation's binding is nil.
    binding: str | None = None
    subrequest: bool = False
    #: What a component calls for it, as `package/interface#function`; (): the standard has no word.
    wasi: tuple[str, ...] = ()


_REQUEST = (
    "{url: str, method?: str (GET), headers?: [[name: str, value: str | bin]…], "
    "body?: bin | str, body_stream?: stream id}"
)
_RESPONSE = (
    "{status: int, headers: [[name: str, value: str (ASCII) | bin]…], body?: bin | body_stream?: stream id}; "
    f"`body` when it is complete and at most {INLINE_BODY_BYTES // _KIB} KiB, neither when there is none"
)
_REQUEST_LIMITS = (
    f"URL {URL_BYTES // _KIB} KiB, {HEADER_COUNT} headers, {HEADER_BYTES // _KIB} KiB of them",
    "hop-by-hop headers and `transfer-encoding` are refused, `host` is dropped (the URL names it), "
    "`content-length` must be that of a body of bytes",
    "keys that a Request has and this does not (`vars`, `params`, `client`, `host`) are passed over",
)
_ENTRY = (
    f"{{value: bin, metadata: any | nil, expiration: int (UNIX s) | nil}}; above {INLINE_BYTES // _KIB} KiB "
    "{value_stream: stream id, size: int, metadata, expiration}"
)
_STORAGE = ((Code.UNAVAILABLE, "the storage failed; trying again later may help"),)
_KV_WRITE = (*_STORAGE, (Code.NOT_FOUND, "the namespace was deleted"))
_QUEUE_SEND = (
    *_STORAGE,
    (Code.NOT_FOUND, "the queue was deleted"),
    (Code.LIMIT_EXCEEDED, "`Storage Limit Exceeded`: the queue's backlog is full"),
)
_DELAY = f"delay_seconds?: int (0 to {MOST_DELAY_S}; the binding's or the queue's by default)"
_MESSAGE_LIMITS = (f"a message {MESSAGE_BYTES} bytes", "JSON at most 24 deep, integers within 64 bits")
_SQL = (
    (Code.INVALID_ARGUMENT, "the SQL, or its parameters: the message has SQLite's words"),
    (Code.CONFLICT, "a constraint of the schema"),
    (Code.DENIED, "not for a worker's SQL: ATTACH, BEGIN, most PRAGMAs, … ([d1.md](d1.md))"),
    (Code.LIMIT_EXCEEDED, "size of a statement, a value, the result, the database; memory"),
    (Code.TIMEOUT, "it took longer than 30 s"),
    (Code.LOAD_SHED, "too many requests wait for the database"),
    (Code.NOT_FOUND, "the database was deleted"),
    (Code.UNAVAILABLE, "the storage failed; trying again later may help"),
)
_SQL_META = (
    "{duration: float (ms), changes: int, last_row_id: int, changed_db: bool, size_after: int (bytes), rows_read: int, "
    "rows_written: int, served_by: str, served_by_region: str, served_by_primary: bool, "
    "timings: {sql_duration_ms: float}, bookmark?: str}"
)
_SQL_LIMITS = (
    f"a statement {d1_limits.SQL_BYTES} bytes and {d1_limits.PARAMETERS} parameters, for `?` and `?NNN`",
    f"the result {d1_limits.RESULT_BYTES} bytes and {d1_limits.RESULT_ROWS} rows",
)
_SQL_PARAMS = "[nil | bool (as 0 or 1) | int (64 bits) | float | str | bin…]"
_SESSION = 'session?: "first-primary" | "first-unconstrained" | bookmark'
_WORKER_CALL = (
    (Code.WORKER_NOT_FOUND, "its message begins with `Worker not found`"),
    (Code.WORKER_FAILED, "the other worker ended without a response: its outcome and why"),
    (Code.LOAD_SHED, "no sandbox is free: a nested one never waits"),
    (Code.CLOSED_STREAM, "the request's stream was closed"),
)

_HASH = 'hash: "SHA-1" | "SHA-256" | "SHA-384" | "SHA-512"'
_KEYS = (
    "an asymmetric key is PKCS#8 (private) or SubjectPublicKeyInfo (public), both DER; others are as they are"
)
_COMPUTING = (
    (Code.LIMIT_EXCEEDED, "what the host computed for the event has taken the CPU time that the event has"),
    (Code.LOAD_SHED, "too many computations wait for a thread"),
)
_COMPUTING_LIMITS = (f"data {DATA_BYTES} bytes",)
_SEALED = f"data {DATA_BYTES + TAG_BYTES} bytes: AES-GCM's has a tag behind it"
_RSA = f"RSA of {LEAST_RSA_BITS} to {MOST_RSA_BITS} bits; curves {', '.join(CURVES)}"


def _any_of(names: Sequence[str]) -> str:
    return " | ".join(f'"{name}"' for name in names)


_Run = Callable[[GuestEvent, object, Sequence[object]], OperationResult]

_ROWS: Final[tuple[tuple[OperationNotes, _Run], ...]] = (
    (
        OperationNotes(
            "fetch",
            "Send a request to the internet, through the egress policy. Redirects are handed to the worker, unless "
            "the policy follows them.",
            (("request", _REQUEST),),
            _RESPONSE,
            (
                (Code.DENIED, "the egress policy, or the address rules: the message has the reason"),
                (Code.UPSTREAM_FAILED, "the origin or its name could not be reached, or broke HTTP"),
                (Code.TIMEOUT, "the origin took too long"),
                (Code.CLOSED_STREAM, "the request's stream was closed"),
                (Code.WORKER_FAILED, "the platform's outbound worker failed: nothing was sent past it"),
                (
                    Code.UNAVAILABLE,
                    "the platform's outbound worker is not there, or a secret or certificate that the policy names: "
                    "nothing was sent",
                ),
                (
                    Code.LIMIT_EXCEEDED,
                    "a size, rate limit or quota of the policy: the message says which, and when to try again",
                ),
                (Code.LOAD_SHED, "no sandbox is free for the platform's outbound worker"),
            ),
            _REQUEST_LIMITS,
            subrequest=True,
            wasi=("wasi:http/outgoing-handler#handle",),
        ),
        fetch,
    ),
    (
        OperationNotes(
            "kv.get",
            "Read one value.",
            (
                ("key", "str"),
                ("options?", f"{{cache_ttl?: int (s, {LEAST_CACHE_TTL_S} or more; {CACHE_TTL_S})}}"),
            ),
            f"nil when absent or expired; {_ENTRY}",
            _STORAGE,
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
            f"the inline ones together would be above {INLINE_BYTES_TOGETHER // _KIB} KiB",
            (*_STORAGE, (Code.LIMIT_EXCEEDED, f"the values together are above {VALUE_BYTES // _MIB} MiB")),
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
                f"value {VALUE_BYTES // _MIB} MiB",
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
            _STORAGE,
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
            (*_STORAGE, (Code.INVALID_ARGUMENT, "a cursor that no listing with this prefix gave")),
            ("a page ends before `limit` at 512 KiB of names and metadata",),
            BindingKind.KV_NAMESPACE,
            True,
            wasi=("wasi:keyvalue/store#bucket.list-keys",),
        ),
        kv_list,
    ),
    (
        OperationNotes(
            "queue.send",
            "Send one message; answers when it is durable.",
            (
                ("body", "any JSON value | str | bin, by content_type"),
                ("options?", f'{{content_type?: "json" (default) | "text" | "bytes", {_DELAY}}}'),
            ),
            "nil",
            _QUEUE_SEND,
            _MESSAGE_LIMITS,
            BindingKind.QUEUE,
            True,
            wasi=("wasi:messaging/producer#send",),
        ),
        queue_send,
    ),
    (
        OperationNotes(
            "queue.send_batch",
            "Send several messages, all or none; answers when they are durable.",
            (
                ("messages", "[{body, content_type?, delay_seconds?}…], each as of queue.send"),
                ("options?", f"{{{_DELAY}}}, for messages without their own"),
            ),
            "nil",
            _QUEUE_SEND,
            (f"1 to {BATCH_MESSAGES} messages, {BATCH_BYTES} bytes together", *_MESSAGE_LIMITS),
            BindingKind.QUEUE,
            True,
        ),
        queue_send_batch,
    ),
    (
        OperationNotes(
            "d1.query",
            "Run one SQL statement. A write is durable when it is answered.",
            (
                ("sql", "str"),
                ("params?", _SQL_PARAMS),
                (
                    "options?",
                    f'{{mode?: "all" (default) | "raw" | "first", column?: str (with first), {_SESSION}}}',
                ),
            ),
            "all: {success: true, results: [{column: value}…], meta}; raw: {success, columns: [str…], rows: "
            "[[value…]…], meta}; first: the first row as a map, or nil, or its one column. Values as parameters; "
            f"`meta` is {_SQL_META}",
            _SQL,
            (*_SQL_LIMITS, "`bookmark` is there after a write, and in a session"),
            BindingKind.D1,
            True,
        ),
        d1_query,
    ),
    (
        OperationNotes(
            "d1.batch",
            "Run several statements in one transaction: all or none.",
            (
                ("statements", "[[sql: str, params?]…], each as of d1.query"),
                ("options?", f'{{mode?: "all" | "raw", {_SESSION}}}'),
            ),
            "[result…], as of d1.query, one a statement",
            _SQL,
            (f"1 to {d1_limits.BATCH_STATEMENTS} statements", *_SQL_LIMITS),
            BindingKind.D1,
            True,
        ),
        d1_batch,
    ),
    (
        OperationNotes(
            "d1.exec",
            "Run a script, statement by statement; what ran before one that fails stays. Where no statement ends with "
            "`;`, each line is one.",
            (("sql", "str"),),
            "{count: int (statements), duration: float (ms)}",
            (*_SQL, (Code.INVALID_ARGUMENT, "`D1_EXEC_ERROR: Error in line N: …`")),
            (f"{d1_limits.SQL_BYTES} bytes",),
            BindingKind.D1,
            True,
        ),
        d1_exec,
    ),
    (
        OperationNotes(
            "secret.get",
            "Read the secret that the binding names.",
            (),
            "str",
            (
                (Code.NOT_FOUND, "it has no value"),
                (Code.UNAVAILABLE, "it can't be opened now"),
            ),
            (),
            BindingKind.SECRET_TEXT,
            wasi=("wasi:config/store#get",),
        ),
        secret_get,
    ),
    (
        OperationNotes(
            "cache.match",
            "Look for a response that was kept for this URL, is fresh, and fits the headers that it varies by.",
            (
                ("request", _REQUEST),
                ("options?", "{ignore_method?: bool} (else only GET finds anything)"),
            ),
            f"nil, or {_RESPONSE}. With `age` and `cf-cache-status: HIT`; 304 without a body where `if-none-match` or "
            "`if-modified-since` says that it is there already",
            (*_STORAGE, (Code.LOAD_SHED, "too many large bodies are being read in this process")),
            ("it never asks an origin, and never gives a stale response", "`range` has no effect"),
            BindingKind.CACHE,
            True,
        ),
        cache_match,
    ),
    (
        OperationNotes(
            "cache.put",
            "Keep a response for a URL, as its headers allow (RFC 9111, a shared cache).",
            (
                ("request", _REQUEST),
                (
                    "response",
                    "{status: int, headers?: [[name, value]…], body?: bin | str, body_stream?: stream id}",
                ),
            ),
            "{stored: bool}; false where `cache-control` forbids it, it has a `set-cookie`, or is not fresh now",
            (
                *_STORAGE,
                (Code.INVALID_ARGUMENT, "another method than GET, status 206, `vary: *`"),
                (Code.CLOSED_STREAM, "the body's stream was closed, or broke off: nothing was stored"),
                (Code.UPSTREAM_FAILED, "the body's stream failed: nothing was stored"),
                (Code.LOAD_SHED, "too many large bodies are being written in this process"),
            ),
            (f"body {CACHED_BYTES // _MIB} MiB", "what a tenant keeps, together: the oldest go"),
            BindingKind.CACHE,
            True,
        ),
        cache_put,
    ),
    (
        OperationNotes(
            "cache.delete",
            "Forget what was kept for a URL, for any headers.",
            (("request", _REQUEST), ("options?", "{ignore_method?: bool}")),
            "bool: whether there was anything",
            _STORAGE,
            (),
            BindingKind.CACHE,
            True,
        ),
        cache_delete,
    ),
    (
        OperationNotes(
            "rate_limit.limit",
            "Count one use of a key, if it is within the binding's limit. A key that has rested may use all of a "
            "period at once, then as much as comes back evenly.",
            (("options", "{key: str}"),),
            "{success: bool}; where it is false, nothing was counted",
            (),
            (
                f"a key {RATE_KEY_BYTES} bytes of UTF-8",
                "counted over all processes of a machine, with the tenant's other bindings of the same `namespace_id`, "
                "`limit` and `period`",
            ),
            BindingKind.RATE_LIMIT,
        ),
        rate_limit_limit,
    ),
    (
        OperationNotes(
            "analytics.write",
            "Write a data point to a dataset. Answers at once, and nobody waits for it: it can be queried a second or "
            "two later, and may be lost when the host is overloaded or a process dies.",
            (
                (
                    "point",
                    "{indexes?: [str], blobs?: [str | bin (UTF-8) | nil…], doubles?: [int | float…]}",
                ),
            ),
            "nil",
            (),
            (
                f"{POINTS} points an event",
                f"1 index of {INDEX_BYTES} bytes",
                f"{BLOBS} blobs, {BLOB_BYTES} bytes together",
                f"{DOUBLES} doubles, without NaN and infinities",
            ),
            BindingKind.ANALYTICS_ENGINE,
        ),
        analytics_write,
    ),
    (
        OperationNotes(
            "service.fetch",
            "Send a request to another worker, without the network.",
            (("request", _REQUEST),),
            _RESPONSE,
            _WORKER_CALL,
            (*_REQUEST_LIMITS, "16 workers deep", "CPU time and subrequests are taken off the caller's"),
            BindingKind.SERVICE,
            True,
        ),
        service_fetch,
    ),
    (
        OperationNotes(
            "service.call",
            "Call a method of an entry point of another worker in JavaScript. Arguments and result travel as bodies, "
            "in the words of that engine.",
            (("request", _REQUEST), ("method", "str")),
            _RESPONSE,
            _WORKER_CALL,
            (
                *_REQUEST_LIMITS,
                f"a method's name {METHOD_CHARACTERS} characters",
                "16 workers deep",
                "CPU time and subrequests are taken off the caller's",
            ),
            BindingKind.SERVICE,
            True,
        ),
        service_call,
    ),
    (
        OperationNotes(
            "dispatch.fetch",
            "Send a request to a worker of the dispatch namespace, by its name.",
            (
                ("script", "str"),
                ("request", _REQUEST),
                (
                    "options?",
                    "{params?: {str: str}, limits?: {cpu_ms?: int, subrequests?: int}, outbound?: {str: str}, "
                    "egress?: {allow: [str]}}",
                ),
            ),
            f"{_RESPONSE}. `params` reach the worker, `outbound` the egress policy and the outbound worker; `limits` "
            "only lower; `egress` takes away: of what the egress policy allows, only what goes to a host of `allow` (a "
            "name, or `*.` and a name; [] for none) leaves the worker, and what it calls in turn",
            (
                *_WORKER_CALL,
                (Code.INVALID_ARGUMENT, "`outbound` has a param that the outbound worker does not declare"),
            ),
            (
                *_REQUEST_LIMITS,
                f"params and outbound {PARAM_COUNT} entries and {PARAM_BYTES // _KIB} KiB each",
                f"egress.allow {MAX_EGRESS_HOSTS} hosts",
                "16 workers deep",
            ),
            BindingKind.DISPATCH_NAMESPACE,
            True,
        ),
        dispatch_fetch,
    ),
    (
        OperationNotes(
            "crypto.digest",
            "The hash of bytes. What is short is answered at once, here and in the rows below.",
            (("name", _any_of(DIGESTS)), ("data", "bin")),
            "bin",
            _COMPUTING,
            _COMPUTING_LIMITS,
        ),
        crypto_digest,
    ),
    (
        OperationNotes(
            "crypto.digest_stream",
            "The hash of a stream, or its HMAC. It is computed as the stream comes, which may be of any size.",
            (
                ("name", _any_of(DIGESTS)),
                ("key", "bin | nil: HMAC's, not of MD5"),
                ("stream", "stream id"),
            ),
            "bin",
            (*_COMPUTING, (Code.CLOSED_STREAM, "the stream was closed, or broke off")),
        ),
        crypto_digest_stream,
    ),
    (
        OperationNotes(
            "crypto.sign",
            "Sign bytes.",
            (
                ("algorithm", f"{{name: {_any_of(SIGNATURES)}, {_HASH}, salt_length?: int (RSA-PSS)}}"),
                ("key", "bin"),
                ("data", "bin"),
            ),
            "bin; of ECDSA r and s, each of the curve's size",
            _COMPUTING,
            (*_COMPUTING_LIMITS, _KEYS, _RSA),
        ),
        crypto_sign,
    ),
    (
        OperationNotes(
            "crypto.verify",
            "Whether a signature is one of this key and these bytes.",
            (("algorithm", "as of crypto.sign"), ("key", "bin"), ("signature", "bin"), ("data", "bin")),
            "bool",
            _COMPUTING,
            (*_COMPUTING_LIMITS, _RSA),
        ),
        crypto_verify,
    ),
    (
        OperationNotes(
            "crypto.encrypt",
            "Encrypt bytes.",
            (
                (
                    "algorithm",
                    f"{{name: {_any_of(CIPHERS)}, iv?: bin (AES-GCM, AES-CBC), additional_data?: bin and tag_length?: "
                    "int (AES-GCM), counter?: bin and length?: int (AES-CTR), hash? and label?: bin (RSA-OAEP)}",
                ),
                ("key", "bin"),
                ("data", "bin"),
            ),
            "bin; of AES-GCM with the tag behind it",
            _COMPUTING,
            (*_COMPUTING_LIMITS, _RSA),
        ),
        crypto_encrypt,
    ),
    (
        OperationNotes(
            "crypto.decrypt",
            "Decrypt bytes.",
            (("algorithm", "as of crypto.encrypt"), ("key", "bin"), ("data", "bin")),
            "bin; nil when they were not encrypted with this key, or were changed",
            _COMPUTING,
            (_SEALED, _RSA),
        ),
        crypto_decrypt,
    ),
    (
        OperationNotes(
            "crypto.derive_bits",
            "Derive bytes from a secret.",
            (
                (
                    "algorithm",
                    f"{{name: {_any_of(DERIVATIONS)}, {_HASH}, salt?: bin (PBKDF2, HKDF), iterations?: int (PBKDF2), "
                    "info?: bin (HKDF), public?: bin (ECDH, X25519)}",
                ),
                ("key", "bin"),
                ("bits", "int, a multiple of 8"),
            ),
            "bin",
            _COMPUTING,
            (
                f"PBKDF2 {ITERATIONS} iterations, and twice as many for all blocks of the hash's size",
                f"{DERIVED_BYTES} bytes",
            ),
        ),
        crypto_derive_bits,
    ),
    (
        OperationNotes(
            "crypto.generate_key",
            "Make a pair of keys.",
            (
                (
                    "algorithm",
                    f"{{name: {_any_of(KEY_PAIRS)}, named_curve?: str (ECDSA, ECDH), modulus_length?: int and "
                    "public_exponent?: bin (RSA)}",
                ),
            ),
            "{private: key, public: key}, each as of crypto.import_key",
            _COMPUTING,
            ("RSA of 2048, 3072 or 4096 bits, with exponent 3 or 65537",),
        ),
        crypto_generate_key,
    ),
    (
        OperationNotes(
            "crypto.import_key",
            "Read an asymmetric key, and check that it is one of the algorithm.",
            (
                ("format", '"pkcs8" | "spki" | "raw" (public, of a curve) | "jwk"'),
                ("key", "bin | {str: str} (jwk)"),
                ("algorithm", f"{{name: {_any_of(KEY_PAIRS)}, named_curve?: str}}"),
            ),
            '{type: "private" | "public", key: bin (PKCS#8 or SubjectPublicKeyInfo), modulus_length?: int, '
            "public_exponent?: bin}",
            _COMPUTING,
            (_RSA,),
        ),
        crypto_import_key,
    ),
    (
        OperationNotes(
            "crypto.export_key",
            "Write an asymmetric key in another format.",
            (
                ("format", '"pkcs8" | "spki" | "raw" (public, of a curve) | "jwk"'),
                ("type", '"private" | "public"'),
                ("key", "bin"),
            ),
            "bin | {str: str} (jwk)",
            _COMPUTING,
            (_RSA,),
        ),
        crypto_export_key,
    ),
    (
        OperationNotes(
            "compression.compress",
            "A stream that is another one compressed. It is computed as it is read.",
            (("format", _any_of(tuple(COMPRESSIONS))), ("stream", "stream id")),
            "stream id; reading it fails with closed_stream when the event's CPU time is used up",
            ((Code.CLOSED_STREAM, "the stream was closed"),),
        ),
        compression_compress,
    ),
    (
        OperationNotes(
            "compression.decompress",
            "The other way.",
            (("format", "as of compression.compress"), ("stream", "stream id")),
            "stream id; reading it fails with closed_stream where the data is not in the format, has no end, or has "
            "something behind it",
            ((Code.CLOSED_STREAM, "the stream was closed"),),
            (f"{DECOMPRESSED_BYTES} bytes",),
        ),
        compression_decompress,
    ),
)

OPERATIONS: Final[OperationTable] = MappingProxyType(
    {notes.name: Operation(notes.name, notes.binding, notes.subrequest, run) for notes, run in _ROWS}
)

#: What the runtime serves by itself, since it is about the event and not about anything lent.
RUNTIME_OPERATIONS: Final[tuple[OperationNotes, ...]] = (
    OperationNotes(
        "stream.read",
        "Read from a stream; waits for at least one byte.",
        (("stream", "stream id"), ("max", "int (bytes, 1 or more)")),
        "bin of 1 to `max` bytes, at most 256 KiB; nil at the end",
        (
            (Code.CLOSED_STREAM, "closed, handed on, or its sender broke off"),
            (Code.UPSTREAM_FAILED, "the origin that feeds it failed"),
        ),
        ("128 streams open in one event",),
        wasi=("wasi:io/streams#input-stream.read",),
    ),
    OperationNotes(
        "stream.close",
        "Let go of a stream; what is left of it is not read. One of stream.open breaks off for its reader.",
        (("stream", "stream id"),),
        "nil",
        ((Code.CLOSED_STREAM, "closed or handed on before"),),
        wasi=("wasi:io/streams#input-stream",),
    ),
    OperationNotes(
        "stream.open",
        "Make a stream that this worker writes, to be given as a body or a value.",
        (),
        "stream id",
        wasi=("wasi:http/types#outgoing-body.write",),
    ),
    OperationNotes(
        "stream.write",
        "Write to a stream of stream.open; waits while its reader is slow.",
        (("stream", "stream id"), ("data", "bin | str")),
        "nil",
        ((Code.CLOSED_STREAM, "ended, or its reader went away"),),
        wasi=("wasi:io/streams#output-stream.write",),
    ),
    OperationNotes(
        "stream.end",
        "End a stream of stream.open.",
        (("stream", "stream id"),),
        "nil",
        ((Code.CLOSED_STREAM, "ended before, or its reader went away"),),
        wasi=("wasi:http/types#outgoing-body.finish",),
    ),
    OperationNotes(
        "response.start",
        "Begin the response; once an event.",
        (("status", "int"), ("headers", "[[name: str, value: str | bin]…]")),
        "nil",
        (
            (Code.INVALID_ARGUMENT, "started before, or the event has no visitor"),
            (Code.CLOSED_STREAM, "the visitor left"),
        ),
        ("`content-length` is held to what is written; hop-by-hop headers are refused",),
        wasi=("wasi:http/types#response-outparam.set",),
    ),
    OperationNotes(
        "response.write",
        "Write a part of the body; waits while the visitor is slow.",
        (("data", "bin | str"),),
        "nil",
        ((Code.CLOSED_STREAM, "the visitor left, or the response has ended"),),
        wasi=("wasi:io/streams#output-stream.write",),
    ),
    OperationNotes(
        "response.end",
        "End the response; the worker may go on in the background.",
        (),
        "nil",
        ((Code.CLOSED_STREAM, "the visitor left, or the response has ended"),),
        wasi=("wasi:http/types#outgoing-body.finish",),
    ),
    OperationNotes(
        "sleep",
        "Wait.",
        (("ms", "int (0 to 900000)"),),
        "nil",
        wasi=("wasi:clocks/monotonic-clock#subscribe-duration",),
    ),
)

REFERENCE: Final[tuple[OperationNotes, ...]] = (*(notes for notes, _ in _ROWS), *RUNTIME_OPERATIONS)
