"""Requests that a guest makes and responses that it gets, as MessagePack values: docs/guest-abi.md.

One parser and one writer for `fetch`, `service.fetch`, `dispatch.fetch` and `cache.*`, so that what is refused is
refused everywhere. Rules of the parser (RFC 9110 §5, RFC 9112 §6):
- framing is ours: hop-by-hop headers and `transfer-encoding` are refused, `content-length` must agree with
  a body of bytes; `host` is dropped, since the URL names it, so that a worker may pass on what it received;
- keys that a Request has and a subrequest doesn't (`vars`, `params`, `client`, `host`) are passed over;
- a stream is taken from the guest last, when everything else was right.
"""

from __future__ import annotations

import re
from typing import Any, Final

from bindings.arguments import invalid, type_name
from model.capabilities import GuestEvent
from model.messages import HOP_BY_HOP, Body, BytesSource, Header, OutgoingRequest, Response

URL_BYTES: Final = 16 * 1024
HEADER_COUNT: Final = 128
HEADER_BYTES: Final = 128 * 1024
#: A body that is complete already is given inline up to this size.
INLINE_BODY_BYTES: Final = 64 * 1024

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
#: RFC 9110 §5.5 allows visible characters, space, tab and obs-text; CR, LF and NUL would end the field.
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_DIGITS: Final = re.compile(rb"[0-9]{1,15}")
# Header names that were right, and as what they are sent. Workers use the same few hundred for ever; the bound
# keeps one that invents names from filling it.
_names: dict[str, bytes] = {}
_MAX_NAMES: Final = 4_096


def parse_request(operation: str, event: GuestEvent, value: object) -> OutgoingRequest:
    """The guest's Request map → OutgoingRequest, its body borrowed from the guest.

    `{url, method? ("GET"), headers? [[name, value]…], body? (bin or str) | body_stream? (id)}`. The URL is
    not parsed here: where it leads is decided by who sends it. Raises OperationError(invalid_argument,
    closed_stream).
    """
    if not isinstance(value, dict):
        invalid(f"{operation}: request: {type_name(value)}; a map {{method, url, headers, body}} is right")
    method = value.get("method", "GET")
    if not isinstance(method, str) or len(method) > 32 or not _TOKEN.fullmatch(method):
        invalid(f"{operation}: request.method: an HTTP method of at most 32 characters is right")
    url = value.get("url")
    if not isinstance(url, str) or not url:
        invalid(f"{operation}: request.url: {type_name(url)}; an absolute URL is right")
    if len(url) > URL_BYTES or len(url.encode(errors="surrogatepass")) > URL_BYTES:
        invalid(f"{operation}: request.url: longer than {URL_BYTES} bytes")
    where = f"{operation}: request"
    headers, length = _parse_headers(where, value.get("headers"))
    return OutgoingRequest(method, url, headers, _parse_body(where, event, value, length))


def parse_response(operation: str, event: GuestEvent, value: object) -> Response:
    """The guest's Response map → Response, its body borrowed from the guest.

    `{status, headers?, body? | body_stream?}`. Raises as parse_request.
    """
    if not isinstance(value, dict):
        invalid(f"{operation}: response: {type_name(value)}; a map {{status, headers, body}} is right")
    status = value.get("status")
    if not isinstance(status, int) or isinstance(status, bool) or not 200 <= status <= 599:
        invalid(f"{operation}: response.status: an integer from 200 to 599 is right")
    where = f"{operation}: response"
    headers, length = _parse_headers(where, value.get("headers"))
    return Response(status, headers, _parse_body(where, event, value, length))


def response_value(event: GuestEvent, response: Response) -> dict[str, Any]:
    """Response → `{status, headers, body? (bin) | body_stream? (id)}`; neither: there is no body.

    A header's value is a str when it is ASCII, else bin.
    """
    result: dict[str, Any] = {
        "status": response.status,
        "headers": [
            [name.decode("ascii"), value.decode("ascii") if value.isascii() else bytes(value)]
            for name, value in response.headers
        ],
    }
    body = response.body
    if isinstance(body, BytesSource) and len(body.data) <= INLINE_BODY_BYTES:
        body = body.data
    if isinstance(body, bytes):
        if len(body) <= INLINE_BODY_BYTES:
            result["body"] = body
            return result
        body = BytesSource(body)
    if body is not None:
        try:
            result["body_stream"] = event.lend_stream(body)
        except BaseException:
            body.close()  # nobody else knows of it yet
            raise
    return result


def _parse_headers(where: str, value: object) -> tuple[tuple[Header, ...], int | None]:
    """(headers, the content-length among them)."""
    if value is None:
        return (), None
    if not isinstance(value, list | tuple):
        invalid(f"{where}.headers: {type_name(value)}; an array of [name, value] is right")
    if len(value) > HEADER_COUNT:
        invalid(f"{where}.headers: {len(value)} of them; at most {HEADER_COUNT} are right")
    headers: list[Header] = []
    length: int | None = None
    size = 0
    for pair in value:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            invalid(f"{where}.headers: each is an array [name, value]")
        given = pair[0]
        name = (_names.get(given) if given.__class__ is str else None) or _parse_name(where, given)
        text = _parse_value(where, name, pair[1])
        size += len(name) + len(text)
        if size > HEADER_BYTES:
            invalid(f"{where}.headers: more than {HEADER_BYTES} bytes together")
        if name == b"host":
            continue
        if name == b"content-length":
            if length is not None or not _DIGITS.fullmatch(text):
                invalid(f"{where}.headers: content-length must be one decimal number")
            length = int(text)
        headers.append((name, text))
    return tuple(headers), length


def _parse_name(where: str, value: object) -> bytes:
    if not isinstance(value, str) or len(value) > 256 or not _TOKEN.fullmatch(value):
        invalid(f"{where}.headers: a name is a token of 1 to 256 characters (RFC 9110)")
    name = value.lower().encode("ascii")
    if name in HOP_BY_HOP:
        invalid(f"{where}.headers: {value[:64]} is about one connection, which is the host's: leave it out")
    if len(value) <= 64 and len(_names) < _MAX_NAMES:
        _names[value] = name
    return name


def _parse_value(where: str, name: bytes, value: object) -> bytes:
    if isinstance(value, str):
        if value.isascii() and value.isprintable():
            return value.strip(" ").encode()  # as nearly all are
        try:
            text = value.encode()
        except UnicodeEncodeError:
            invalid(f"{where}.headers: {name.decode()}: holds half of a surrogate pair")
    elif isinstance(value, bytes):
        text = value
    else:
        invalid(f"{where}.headers: {name.decode()}: {type_name(value)}; str or bin is right")
    text = text.strip(b" \t")
    if _CONTROL.search(text):
        invalid(f"{where}.headers: {name.decode()}: holds a control character (CR, LF, NUL…)")
    return text


def _parse_body(where: str, event: GuestEvent, message: dict[Any, Any], length: int | None) -> Body:
    body, stream = message.get("body"), message.get("body_stream")
    if stream is not None:
        if body is not None:
            invalid(f"{where}: body and body_stream; one of them is right")
        return event.borrow_stream(stream)
    if isinstance(body, str):
        try:
            body = body.encode()
        except UnicodeEncodeError:
            invalid(f"{where}.body: holds half of a surrogate pair; send bin")
    if body is not None and not isinstance(body, bytes):
        invalid(f"{where}.body: {type_name(body)}; bin or str is right, or body_stream with an id")
    size = len(body or b"")
    if length is not None and length != size:
        invalid(f"{where}.headers: content-length {length}, but the body has {size} bytes")
    return body or None
