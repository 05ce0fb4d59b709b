"""Speaks the control API, and nothing else: JSON envelopes, raw KV values, multipart uploads.

Rules of the file. One connection a request: commands make few, and a kept connection would need a retry
when the host had closed it, which for a POST is a guess. No redirect is followed and no proxy variable is
read, so the token goes to the host that the URL names or nowhere.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import secrets
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from cli.errors import ApiError, BadUsage, CliError, Problem, Unreachable

PREFIX: Final = "/client/v4"
#: An upload is compiled before it is answered; the host's own limit on that is shorter.
TIMEOUT_S: Final = 120.0
CHUNK: Final = 64 * 1024
PER_PAGE: Final = 100

Query = Mapping[str, str | int | None]


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a multipart/form-data body. `filename` "" leaves it out."""

    name: str
    data: bytes
    content_type: str
    filename: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer before anyone looked into it. Header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class ApiClient:
    """`url` is the control listener's, `account` the account id that paths are made with.

    Every method raises ApiError when the host refused, Unreachable when none answered.
    """

    def __init__(self, url: str, token: str, account: str) -> None:
        self.url = url.rstrip("/").removesuffix(PREFIX)
        self.account = account
        self._token = token
        self._scheme, self._host, self._port, self._base = _parse_url(self.url)

    # Paths: each piece is one segment, whatever is in it.

    def path(self, *pieces: str) -> str:
        """A path of the account: path("queues", "a/b") is /accounts/ACCOUNT/queues/a%2Fb."""
        return "/accounts/" + "/".join(quote(piece, safe="") for piece in (self.account, *pieces))

    def script(self, namespace: str | None, *pieces: str) -> str:
        """A path below the scripts of a dispatch namespace, or below the plain ones (None)."""
        if namespace is None:
            return self.path("workers", "scripts", *pieces)
        return self.path("workers", "dispatch", "namespaces", namespace, "scripts", *pieces)

    # Requests with an envelope.

    def get(self, path: str, query: Query | None = None, *, timeout_s: float = TIMEOUT_S) -> Any:
        return self.envelope("GET", path, query, timeout_s=timeout_s).get("result")

    def post(self, path: str, value: object = None, *, timeout_s: float = TIMEOUT_S) -> Any:
        return self._send_json("POST", path, value, timeout_s)

    def put(self, path: str, value: object = None) -> Any:
        return self._send_json("PUT", path, value, TIMEOUT_S)

    def patch(self, path: str, value: object) -> Any:
        return self._send_json("PATCH", path, value, TIMEOUT_S)

    def delete(self, path: str, query: Query | None = None) -> Any:
        return self.envelope("DELETE", path, query).get("result")

    def put_bytes(self, path: str, data: bytes, content_type: str, query: Query | None = None) -> Any:
        return self.envelope("PUT", path, query, body=data, content_type=content_type).get("result")

    def put_envelope(self, path: str, value: object) -> Mapping[str, Any]:
        """As `put`; the whole envelope, with its warnings."""
        return self.envelope("PUT", path, body=json.dumps(value).encode(), content_type="application/json")

    def upload(self, path: str, body: bytes, content_type: str, progress: Callable[[int], None]) -> Any:
        """PUT `body`; `progress` is told how many bytes each chunk that was sent had."""
        envelope = self.envelope("PUT", path, body=body, content_type=content_type, progress=progress)
        return envelope.get("result")

    def pages(self, path: str, query: Query | None = None) -> Iterator[Any]:
        """Every element of a list that is paged by number."""
        number = 1
        while True:
            envelope = self.envelope("GET", path, {**(query or {}), "page": number, "per_page": PER_PAGE})
            elements = envelope.get("result") or []
            yield from elements
            total = (envelope.get("result_info") or {}).get("total_count")
            # A list that is not paged says no total, and has all on its first page.
            if not elements or not isinstance(total, int) or number * PER_PAGE >= total:
                return
            number += 1

    def cursor_pages(
        self, path: str, query: Query | None = None, *, at_most: int | None = None
    ) -> Iterator[Any]:
        """The elements of a list that is paged by cursor; `at_most` of them, or all (None)."""
        cursor, left = "", at_most
        while left is None or left > 0:
            limit = 1000 if left is None else min(left, 1000)
            envelope = self.envelope("GET", path, {**(query or {}), "limit": limit, "cursor": cursor or None})
            elements = envelope.get("result") or []
            yield from elements
            left = None if left is None else left - len(elements)
            cursor = (envelope.get("result_info") or {}).get("cursor") or ""
            if not cursor:
                return

    def envelope(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        *,
        body: bytes | None = None,
        content_type: str = "",
        timeout_s: float = TIMEOUT_S,
        progress: Callable[[int], None] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Mapping[str, Any]:
        """The whole envelope of an answer that says `success`."""
        target = PREFIX + path + _query_string(query)
        reply = self.exchange(
            method,
            target,
            body=body,
            content_type=content_type,
            timeout_s=timeout_s,
            progress=progress,
            headers=headers,
        )
        if reply.status == 204:
            return {}
        envelope = self._parse_envelope(reply)
        if envelope["success"] is not True:
            raise _refusal(reply.status, envelope)
        return envelope

    def refusal(self, reply: Reply) -> CliError:
        """What an answer that is no success says, as an error to raise or to show."""
        try:
            return _refusal(reply.status, self._parse_envelope(reply))
        except CliError as error:
            return error

    def get_bytes(self, path: str, query: Query | None = None) -> Reply:
        """A raw answer, such as a KV value's; an error still comes as an envelope."""
        return self._raw("GET", path, query)

    def post_text(self, path: str, text: str, query: Query | None = None) -> Reply:
        """Text as it is, and a raw answer to it, as of `get_bytes`."""
        return self._raw("POST", path, query, body=text.encode(), content_type="text/plain; charset=utf-8")

    def _raw(self, method: str, path: str, query: Query | None, **sent: Any) -> Reply:
        reply = self.exchange(method, PREFIX + path + _query_string(query), **sent)
        if reply.status != 200:
            raise self.refusal(reply)
        return reply

    def exchange(
        self,
        method: str,
        target: str,
        *,
        body: bytes | None = None,
        content_type: str = "",
        timeout_s: float = TIMEOUT_S,
        progress: Callable[[int], None] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request, one answer, whatever its status. `target` is the path and query from the root."""
        sent = {"Accept": "application/json", "User-Agent": "tenantry", **(headers or {})}
        if self._token:
            sent["Authorization"] = f"Bearer {self._token}"
        if content_type:
            sent["Content-Type"] = content_type
        if body is not None:
            sent["Content-Length"] = str(len(body))
        connection = self._connect(timeout_s)
        try:
            try:
                chunks = None if body is None else _chunks(body, progress)
                connection.request(method, self._base + target, body=chunks, headers=sent)
            except (BrokenPipeError, ConnectionResetError):
                # A host that refuses an upload answers and closes before it has read all: the answer,
                # which says why, may be there already. If it is not, getresponse raises.
                pass
            response = connection.getresponse()
            answer = response.read()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, names, answer)
        except TimeoutError as error:
            raise Unreachable(
                f"{self.url} did not answer within {timeout_s:.0f} s",
                hint="look at the host: tenantry doctor",
            ) from error
        except ssl.SSLError as error:
            raise Unreachable(
                f"{self.url}: TLS failed: {error.reason or error}",
                hint="the control API itself speaks plain http, on loopback; https is a proxy's before it",
            ) from error
        except (ConnectionResetError, BrokenPipeError, http.client.HTTPException) as error:
            raise Unreachable(
                f"{self.url} closed the connection before it had answered",
                hint="it may be restarting: try again, and look at its log",
            ) from error
        except OSError as error:
            reason = error.strerror or str(error) or type(error).__name__
            raise Unreachable(
                f"cannot reach the control API at {self.url}: {reason}",
                hint="start a host with `tenantry serve --data DIR`, or set TENANTRY_URL to where one is",
            ) from error
        finally:
            connection.close()

    def _send_json(self, method: str, path: str, value: object, timeout_s: float) -> Any:
        body = b"" if value is None else json.dumps(value).encode()
        content_type = "application/json" if body else ""
        envelope = self.envelope(method, path, body=body, content_type=content_type, timeout_s=timeout_s)
        return envelope.get("result")

    def _connect(self, timeout_s: float) -> http.client.HTTPConnection:
        if self._scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(self._host, self._port, timeout=timeout_s, context=context)
        return http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)

    def _parse_envelope(self, reply: Reply) -> Mapping[str, Any]:
        try:
            envelope = json.loads(reply.body)
        except (ValueError, RecursionError):
            envelope = None
        if not isinstance(envelope, dict) or "success" not in envelope:
            raise CliError(
                f"{self.url} answered {reply.status} with something that is no envelope of the API",
                hint="is this the control listener (port 8788 by default), and not the visitors' one?",
            )
        return envelope


def encode_multipart(parts: Sequence[Part]) -> tuple[str, bytes]:
    """(Content-Type, body) of RFC 7578 multipart/form-data. Names must hold no quote and no line break."""
    boundary = f"tenantry-{secrets.token_hex(16)}"
    pieces: list[bytes] = []
    for part in parts:
        filename = f'; filename="{part.filename}"' if part.filename else ""
        head = (
            f"--{boundary}\r\n"
            f'Content-Disposition: form-data; name="{part.name}"{filename}\r\n'
            f"Content-Type: {part.content_type}\r\n\r\n"
        )
        pieces += [head.encode(), part.data, b"\r\n"]
    pieces.append(f"--{boundary}--\r\n".encode())
    return f"multipart/form-data; boundary={boundary}", b"".join(pieces)


def _chunks(body: bytes, progress: Callable[[int], None] | None) -> Iterator[bytes]:
    view = memoryview(body)
    for start in range(0, len(body), CHUNK):
        chunk = view[start : start + CHUNK]
        yield bytes(chunk)
        if progress is not None:
            progress(len(chunk))


def _query_string(query: Query | None) -> str:
    pairs = [(name, value) for name, value in (query or {}).items() if value is not None]
    return f"?{urlencode(pairs)}" if pairs else ""


def _refusal(status: int, envelope: Mapping[str, Any]) -> ApiError:
    errors = envelope.get("errors")
    problems = [
        Problem(
            code if isinstance(code := error.get("code"), int) else 0,
            str(error.get("message") or ""),
            meta if isinstance(meta := error.get("meta"), dict) else {},
        )
        for error in (errors if isinstance(errors, list) else [])
        if isinstance(error, dict)
    ]
    return ApiError(status, problems, hint=_HINTS.get(status, ""))


_HINTS: Final = {
    401: "set TENANTRY_TOKEN, or pass --data DIR to use the admin token of that data folder",
    429: "the host asks to slow down; try again shortly",
    503: "the host is busy or draining; try again shortly",
}


def _parse_url(url: str) -> tuple[str, str, int, str]:
    """(scheme, host, port, path before /client/v4). Raises BadUsage."""
    right = "right would be http://127.0.0.1:8788"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BadUsage(f"TENANTRY_URL {url!r}: {error}; {right}") from None
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not host:
        raise BadUsage(f"TENANTRY_URL {url!r} is no http:// or https:// URL; {right}")
    if parts.username is not None or parts.query or parts.fragment:
        raise BadUsage(f"TENANTRY_URL {url!r} has a user, query or fragment; {right}")
    if parts.scheme == "http" and not _is_loopback(host):
        raise BadUsage(
            f"TENANTRY_URL {url!r}: plain http would show the token to the network between here and {host}",
            hint="use https:// through a TLS proxy, or an SSH tunnel to the host's loopback",
        )
    return parts.scheme, host, port or (443 if parts.scheme == "https" else 80), parts.path.rstrip("/")


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True  # RFC 6761: never leaves this machine
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
