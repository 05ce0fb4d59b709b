"""The absolute form of a request target, turned into the one form that routes know. Pure."""

from __future__ import annotations

from typing import Final, cast

import httptools

from model.hostname import Hostname, InvalidHostname, parse_host

_DEFAULT_PORTS: Final = {b"http": 80, b"https": 443}


class BadTarget(ValueError):
    """The message says what was wrong with it, and is safe to show."""


def origin_form(url: bytes, host: Hostname) -> bytes:
    """The path and query of the absolute URL `url`, whose authority must be what the Host header says.

    RFC 9112 §3.2.2 lets a server ignore Host then; a proxy before us that routed by Host, and we by the
    target, would be two opinions about whose request this is. So they must agree. A path with a fragment
    comes here too, and is refused. Raises BadTarget.
    """
    if b"#" in url:
        raise BadTarget("The request target has a fragment; that part stays with the visitor")
    try:
        target = httptools.parse_url(url)
    except httptools.HttpParserInvalidURLError:
        raise BadTarget("The request target is neither a path nor an http URL") from None
    # httptools types these as bytes; absent ones are None.
    schema, hostname, userinfo = cast(
        "tuple[bytes | None, bytes | None, bytes | None]", (target.schema, target.host, target.userinfo)
    )
    default = _DEFAULT_PORTS.get((schema or b"").lower())
    if default is None or userinfo is not None or not hostname:
        raise BadTarget("The request target is neither a path nor an http URL without user")
    name = b"[" + hostname + b"]" if b":" in hostname else hostname
    try:
        authority = parse_host(name)
    except InvalidHostname as error:
        raise BadTarget(f"In the request target: {error}") from None
    if (authority.name, target.port or default) != (host.name, host.port or default):
        raise BadTarget("The request target names another host than the Host header")
    path: bytes = target.path or b"/"
    return path + b"?" + target.query if target.query else path
