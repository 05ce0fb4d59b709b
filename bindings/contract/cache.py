"""Kept responses."""

from __future__ import annotations

from typing import Final

from bindings.cache import BODY_BYTES as CACHED_BYTES
from bindings.cache import cache_delete, cache_match, cache_put
from bindings.contract.notes import MIB, STORAGE, OperationNotes, Rows
from bindings.contract.web import REQUEST, RESPONSE
from model.errors import OperationErrorCode as Code
from model.scripts import BindingKind

CACHE: Final[Rows] = (
    (
        OperationNotes(
            "cache.match",
            "Look for a response that was kept for this URL, is fresh, and fits the headers that it varies by.",
            (
                ("request", REQUEST),
                ("options?", "{ignore_method?: bool} (else only GET finds anything)"),
            ),
            f"nil, or {RESPONSE}. With `age` and `cf-cache-status: HIT`; 304 without a body where `if-none-match` or "
            "`if-modified-since` says that it is there already",
            (*STORAGE, (Code.LOAD_SHED, "too many large bodies are being read in this process")),
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
                ("request", REQUEST),
                (
                    "response",
                    "{status: int, headers?: [[name, value]…], body?: bin | str, body_stream?: stream id}",
                ),
            ),
            "{stored: bool}; false where `cache-control` forbids it, it has a `set-cookie`, or is not fresh now",
            (
                *STORAGE,
                (Code.INVALID_ARGUMENT, "another method than GET, status 206, `vary: *`"),
                (Code.CLOSED_STREAM, "the body's stream was closed, or broke off: nothing was stored"),
                (Code.UPSTREAM_FAILED, "the body's stream failed: nothing was stored"),
                (Code.LOAD_SHED, "too many large bodies are being written in this process"),
            ),
            (f"body {CACHED_BYTES // MIB} MiB", "what a tenant keeps, together: the oldest go"),
            BindingKind.CACHE,
            True,
        ),
        cache_put,
    ),
    (
        OperationNotes(
            "cache.delete",
            "Forget what was kept for a URL, for any headers.",
            (("request", REQUEST), ("options?", "{ignore_method?: bool}")),
            "bool: whether there was anything",
            STORAGE,
            (),
            BindingKind.CACHE,
            True,
        ),
        cache_delete,
    ),
)
