"""Which headers leave with a request, and which come back. Pure.

Framing is ours: what a guest says of `transfer-encoding` is dropped, what it says of `content-length` is
held against the body. Sources: RFC 9110 §5.5, §7.6.1; RFC 9112 §6.3, §11.2 (request smuggling).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from model.messages import HOP_BY_HOP, Header, Headers
from outbound.hops import HOP_HEADER
from outbound.reasons import Reason
from outbound.target import DEFAULT_PORTS, Target

MAX_HEADERS: Final = 128
MAX_HEADER_BYTES: Final = 64 * 1024

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BAD_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_LENGTH = re.compile(rb"[0-9]{1,15}")
_METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}")
# CONNECT is raw TCP; TRACE and TRACK echo credentials (Fetch standard, forbidden methods).
_FORBIDDEN_METHODS: Final = frozenset({"CONNECT", "TRACE", "TRACK"})
# `expect` would hold the body back for an answer that nobody here waits for.
OURS: Final = HOP_BY_HOP | {b"expect", b"host", b"content-length", HOP_HEADER}

_VERSIONS: Final = ((1, 0), (1, 1))
# Names that have been looked at; bounded, since upstreams may invent names.
_usual_names: set[bytes] = set()
_MAX_USUAL_NAMES: Final = 4_096
_STAYS_HERE: Final = HOP_BY_HOP | {HOP_HEADER}


class RequestRefused(Exception):
    """The request can't leave as it is. `reason` is stable; the message says what would be right."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def check_method(method: str) -> str:
    """The method in upper case, as policy and upstream see it. Raises RequestRefused."""
    if not _METHOD.fullmatch(method):
        raise RequestRefused(Reason.REQUEST_METHOD, f"the method {method[:40]!r} is no HTTP token")
    method = method.upper()
    if method in _FORBIDDEN_METHODS:
        raise RequestRefused(
            Reason.REQUEST_METHOD, f"the method {method} can't leave; GET, POST and others can"
        )
    return method


def outgoing_headers(headers: Headers, target: Target) -> tuple[list[Header], int | None]:
    """The headers to send, names in lower case, and the body length that the guest declared (or None).

    Raises RequestRefused for a header that is none, an upgrade, a Host other than the URL's, lengths that
    disagree, and too many or too large headers.
    """
    if len(headers) > MAX_HEADERS:
        raise RequestRefused(
            Reason.REQUEST_HEADER, f"the request has {len(headers)} headers; at most {MAX_HEADERS} are right"
        )
    size = 0
    declared: bytes | None = None
    named: frozenset[bytes] = frozenset()
    kept: list[Header] = []
    for raw_name, value in headers:
        name = raw_name.lower()
        size += len(name) + len(value)
        if not _NAME.fullmatch(name):
            raise RequestRefused(Reason.REQUEST_HEADER, f"the header name {_show(raw_name)} is no HTTP token")
        if _BAD_VALUE.search(value):
            raise RequestRefused(
                Reason.REQUEST_HEADER, f"the header {_show(name)} has a CR, LF, NUL or other control byte"
            )
        try:
            if not value.isascii():
                value.decode(
                    "utf-8"
                )  # RFC 9110 §5.5 knows only ASCII; what else is sent must be one spelling
        except UnicodeDecodeError:
            raise RequestRefused(
                Reason.REQUEST_HEADER, f"the header {_show(name)} is neither ASCII nor UTF-8"
            ) from None
        if name == b"upgrade":
            raise RequestRefused(
                Reason.REQUEST_UPGRADE, "the request asks for an upgrade; WebSocket and the like can't leave"
            )
        if name == b"host" and not _same_host(value, target):
            raise RequestRefused(
                Reason.REQUEST_HOST_OVERRIDE,
                f"the Host header {_show(value)} differs from the URL's {target.authority}; leave it out",
            )
        if name == b"content-length":
            if not _LENGTH.fullmatch(value) or (declared is not None and int(declared) != int(value)):
                raise RequestRefused(
                    Reason.REQUEST_HEADER, f"content-length {_show(value)} is no single length; leave it out"
                )
            declared = value
        if name == b"connection":
            named |= _tokens(value)
        if name not in OURS:
            kept.append((name, value.strip(b" \t")))
    if size > MAX_HEADER_BYTES:
        raise RequestRefused(
            Reason.REQUEST_HEADER, f"the headers have {size} bytes; at most {MAX_HEADER_BYTES} are right"
        )
    if named:
        kept = [header for header in kept if header[0] not in named]
    return kept, int(declared) if declared is not None else None


def changed_headers(
    headers: Iterable[Header], removed: Iterable[str], added: Iterable[tuple[str, str]]
) -> list[Header]:
    """What a rule does to them: `added` replace every one of their name. Lower-case names, as everywhere."""
    new = [(name.encode("ascii"), value.encode("utf-8")) for name, value in added]
    return without(headers, [*(name.encode("ascii") for name in removed), *(name for name, _ in new)]) + new


def without(headers: Iterable[Header], names: Iterable[bytes]) -> list[Header]:
    """Those of other names. `x_team` goes with `x-team`: CGI and its like make one variable of both."""
    gone = {name.replace(b"_", b"-") for name in names}
    return [header for header in headers if header[0].replace(b"_", b"-") not in gone]


def answer_problem(status: int, version: tuple[int, int], raw: Iterable[Header]) -> str:
    """Why an upstream's answer is not to be believed; "" when nothing speaks against it.

    The HTTP library's parser is lenient where clients usually are. Here two readers of one answer would
    differ: about where its body ends, or about which header is which.
    """
    if status == 101:
        return "switched protocols"
    if status < 200 or version not in _VERSIONS:
        return "sent a response that is not HTTP/1.1"
    size = 0
    for name, value in raw:
        size += len(name) + len(value)
        if name not in _usual_names:
            if not _NAME.fullmatch(name):
                return "sent a header whose name is none"
            lower = name.lower()
            if lower == b"transfer-encoding":
                if value.strip().lower() != b"chunked" or version == (1, 0):
                    return "sent a body in a transfer coding that nobody asked for"
            elif len(name) <= 64 and len(_usual_names) < _MAX_USUAL_NAMES:
                _usual_names.add(name)
    if size > MAX_HEADER_BYTES:
        return f"sent {size} bytes of headers"
    return ""


def incoming_headers(raw: Iterable[Header]) -> list[Header]:
    """An upstream's headers as a guest may see them: names in lower case, nothing hop-by-hop."""
    headers = [(name.lower(), value) for name, value in raw]
    if _STAYS_HERE.isdisjoint([name for name, _ in headers]):
        return headers
    named: frozenset[bytes] = frozenset()
    for name, value in headers:
        if name == b"connection":
            named |= _tokens(value)
    return [header for header in headers if header[0] not in _STAYS_HERE and header[0] not in named]


def _tokens(value: bytes) -> frozenset[bytes]:
    return frozenset(token.strip().lower() for token in value.split(b","))


def _same_host(value: bytes, target: Target) -> bool:
    text = value.strip(b" \t").decode("latin-1").lower()
    bare = f"[{target.host}]" if ":" in target.host else target.host
    explicit = f"{bare}:{target.port}"
    return text in (target.authority, explicit) or (
        text == bare and target.port == DEFAULT_PORTS[target.scheme]
    )


def _show(value: bytes) -> str:
    return repr(value[:60].decode("latin-1"))
