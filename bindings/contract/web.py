"""Requests that leave a worker: to the internet, and to other workers."""

from __future__ import annotations

from typing import Final

from bindings.contract.notes import KIB, OperationNotes, Rows
from bindings.dispatch_namespace import PARAM_BYTES, PARAM_COUNT, dispatch_fetch
from bindings.http_values import HEADER_BYTES, HEADER_COUNT, INLINE_BODY_BYTES, URL_BYTES
from bindings.outbound_fetch import fetch
from bindings.service import METHOD_CHARACTERS, service_call, service_fetch
from model.call_egress import MAX_EGRESS_HOSTS
from model.errors import OperationErrorCode as Code
from model.scripts import BindingKind

REQUEST = (
    "{url: str, method?: str (GET), headers?: [[name: str, value: str | bin]…], "
    "body?: bin | str, body_stream?: stream id}"
)
RESPONSE = (
    "{status: int, headers: [[name: str, value: str (ASCII) | bin]…], body?: bin | body_stream?: stream id}; "
    f"`body` when it is complete and at most {INLINE_BODY_BYTES // KIB} KiB, neither when there is none"
)
REQUEST_LIMITS = (
    f"URL {URL_BYTES // KIB} KiB, {HEADER_COUNT} headers, {HEADER_BYTES // KIB} KiB of them",
    "hop-by-hop headers and `transfer-encoding` are refused, `host` is dropped (the URL names it), "
    "`content-length` must be that of a body of bytes",
    "keys that a Request has and this does not (`vars`, `params`, `client`, `host`) are passed over",
)
_WORKER_CALL = (
    (Code.WORKER_NOT_FOUND, "its message begins with `Worker not found`"),
    (Code.WORKER_FAILED, "the other worker ended without a response: its outcome and why"),
    (Code.LOAD_SHED, "no sandbox is free: a nested one never waits"),
    (Code.CLOSED_STREAM, "the request's stream was closed"),
)

FETCH: Final[Rows] = (
    (
        OperationNotes(
            "fetch",
            "Send a request to the internet, through the egress policy. Redirects are handed to the worker, unless "
            "the policy follows them.",
            (("request", REQUEST),),
            RESPONSE,
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
            REQUEST_LIMITS,
            subrequest=True,
            wasi=("wasi:http/outgoing-handler#handle",),
        ),
        fetch,
    ),
)

CALLS: Final[Rows] = (
    (
        OperationNotes(
            "service.fetch",
            "Send a request to another worker, without the network.",
            (("request", REQUEST),),
            RESPONSE,
            _WORKER_CALL,
            (*REQUEST_LIMITS, "16 workers deep", "CPU time and subrequests are taken off the caller's"),
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
            (("request", REQUEST), ("method", "str")),
            RESPONSE,
            _WORKER_CALL,
            (
                *REQUEST_LIMITS,
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
                ("request", REQUEST),
                (
                    "options?",
                    "{params?: {str: str}, limits?: {cpu_ms?: int, subrequests?: int}, outbound?: {str: str}, "
                    "egress?: {allow: [str]}}",
                ),
            ),
            f"{RESPONSE}. `params` reach the worker, `outbound` the egress policy and the outbound worker; `limits` "
            "only lower; `egress` takes away: of what the egress policy allows, only what goes to a host of `allow` (a "
            "name, or `*.` and a name; [] for none) leaves the worker, and what it calls in turn",
            (
                *_WORKER_CALL,
                (Code.INVALID_ARGUMENT, "`outbound` has a param that the outbound worker does not declare"),
            ),
            (
                *REQUEST_LIMITS,
                f"params and outbound {PARAM_COUNT} entries and {PARAM_BYTES // KIB} KiB each",
                f"egress.allow {MAX_EGRESS_HOSTS} hosts",
                "16 workers deep",
            ),
            BindingKind.DISPATCH_NAMESPACE,
            True,
        ),
        dispatch_fetch,
    ),
)
