"""Where a redirect leads, and what of the request goes along. Pure.

Sources: RFC 9110 §15.4, the Fetch standard's HTTP-redirect fetch. The new URL is only put together here; it
goes through the same strict parser, policy and address rules as any other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from model.messages import Header, Headers
from outbound.target import DEFAULT_PORTS, Target

STATUSES: Final = frozenset({301, 302, 303, 307, 308})

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
#: Credentials of the origin that they were meant for.
_OF_ORIGIN: Final = frozenset({b"authorization", b"cookie", b"proxy-authorization"})
#: They describe a body (Fetch: request-body-header names).
_OF_BODY: Final = frozenset(
    {b"content-encoding", b"content-language", b"content-location", b"content-type", b"content-length"}
)


@dataclass(frozen=True, slots=True)
class Redirect:
    """`url` is absolute and not yet parsed."""

    url: str
    method: str
    keeps_body: bool


def read_redirect(status: int, headers: Headers, base: Target, method: str) -> Redirect | None:
    """What an answer asks for; None when it is no redirect, or does not say where to.

    Raises ValueError for more than one Location, or one that is not text: readers would differ.
    """
    if status not in STATUSES:
        return None
    locations = {value for name, value in headers if name == b"location"}
    if not locations:
        return None
    if len(locations) > 1:
        raise ValueError("the upstream redirects to more than one Location")
    try:
        reference = locations.pop().decode("utf-8").strip(" \t")
    except UnicodeDecodeError:
        raise ValueError("the upstream's Location is neither ASCII nor UTF-8") from None
    if not reference:
        return None
    becomes_get = (status == 303 and method not in ("GET", "HEAD")) or (
        status in (301, 302) and method == "POST"
    )
    return Redirect(join(base, reference), "GET" if becomes_get else method, not becomes_get)


def join(base: Target, reference: str) -> str:
    """RFC 3986 §5.2.2, without removing dot segments: the parser of URLs does that."""
    if _SCHEME.match(reference):
        return reference
    if reference.startswith("//"):
        return f"{base.scheme}:{reference}"
    origin = f"{base.scheme}://{base.authority}"
    if reference.startswith("/"):
        return origin + reference
    if reference.startswith("?"):
        return f"{origin}{base.path}{reference}"
    if reference.startswith("#"):
        return f"{origin}{base.path}" + (f"?{base.query}" if base.query else "")
    return f"{origin}{base.path.rpartition('/')[0]}/{reference}"


def same_origin(one: Target, other: Target) -> bool:
    return (one.scheme, one.host, one.port) == (other.scheme, other.host, other.port)


def is_downgrade(one: Target, other: Target) -> bool:
    return one.scheme == "https" and other.scheme != "https"


def headers_along(headers: Headers, *, crosses: bool, keeps_body: bool) -> list[Header]:
    """Of the worker's own headers, those that the next request has."""
    return [
        (name, value)
        for name, value in headers
        if not (crosses and name.lower() in _OF_ORIGIN)
        and (keeps_body or name.lower() not in _OF_BODY)
        and name.lower() != b"host"
    ]


def origin_of(target: Target) -> str:
    """For messages: no path, no query."""
    port = "" if target.port == DEFAULT_PORTS[target.scheme] else f":{target.port}"
    return f"{target.scheme}://{target.host}{port}"
