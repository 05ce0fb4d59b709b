"""What a cache may keep and give back (RFC 9111, as a shared cache), around the core of `hishel`. No I/O.

`hishel` says whether a response may be stored, which stored one fits a request and is fresh. Ours: the key, what the
Cache API of Workers refuses, `Set-Cookie`, the `Age` that a response came with, and conditional requests.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

import hishel
from hishel._core._spec import get_freshness_lifetime

from bindings.arguments import invalid
from model.messages import Header, Headers, OutgoingRequest, Response

#: Nothing is kept for longer, whatever it says.
MOST_AGE_S: Final = 30 * 24 * 3600
_OPTIONS: Final = hishel.CacheOptions(shared=True, supported_methods=["GET"], allow_stale=False)
#: With these, a request says what it takes from a cache.
_DIRECTIVES: Final = frozenset({b"cache-control", b"pragma"})
#: What a 304 repeats of the 200 (RFC 9110 §15.4.5), and Age.
_OF_304: Final = frozenset(
    {b"age", b"cache-control", b"content-location", b"date", b"etag", b"expires", b"vary", b"last-modified"}
)


@dataclass(frozen=True, slots=True)
class CachedResponse:
    """A stored response without its body. `varied`: the request's headers that its Vary names, if it has one."""

    id: str
    status: int
    headers: tuple[Header, ...]
    varied_by: bool
    varied: tuple[Header, ...]
    stored_at_s: float
    #: How old it was when it was stored, and how old it may become.
    age_s: float
    lifetime_s: float


def cache_key(operation: str, request: OutgoingRequest) -> str:
    """The URL in one spelling, without fragment. Raises OperationError(invalid_argument)."""
    try:
        url = urlsplit(request.url)
        port = url.port
    except ValueError:
        invalid(f"{operation}: request.url: this is no URL")
    if url.scheme not in ("http", "https") or not url.hostname or not request.url.isascii():
        invalid(f"{operation}: request.url: an absolute http or https URL is right, %-encoded")
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    if port is not None and port != (443 if url.scheme == "https" else 80):
        host = f"{host}:{port}"
    return f"{url.scheme}://{host}{url.path or '/'}{'?' + url.query if url.query else ''}"


def check_put(request: OutgoingRequest, response: Response) -> None:
    """What the Cache API throws at. Raises OperationError(invalid_argument)."""
    if request.method != "GET":
        invalid(f"cache.put: request.method: {request.method}; only GET is kept")
    if response.status == 206:
        invalid("cache.put: response.status: 206 is a part; keep the whole response")
    if b"*" in {part.strip() for part in values(response.headers, b"vary").split(b",")}:
        invalid("cache.put: response.headers: `vary: *` fits no other request")


def to_store(
    request: OutgoingRequest, url: str, response: Response, now_s: float, new_id: str
) -> CachedResponse | None:
    """What is kept of a response; None: it may not be, or it would never be given back."""
    asked = _asked(url, request.headers)
    verdict = hishel.CacheMiss(options=_OPTIONS, request=asked).next(
        hishel.Response(response.status, _to_hishel(response.headers))
    )
    if isinstance(verdict, hishel.InvalidateEntries):
        verdict = verdict.next()  # type: ignore[assignment]  # what it had decided before
    if not isinstance(verdict, hishel.StoreAndUse):
        return None
    left = {name.lower().encode("latin-1") for name in verdict.response.headers}
    # The length is the body's, whatever was said of it.
    headers = tuple(
        (name, value) for name, value in response.headers if name in left and name != b"content-length"
    )
    if any(name == b"set-cookie" for name, _ in headers):
        return None  # one visitor's: only `private="set-cookie"`, which takes it away, says otherwise
    names = {part.strip().lower() for part in values(headers, b"vary").split(b",")} - {b""}
    varied = tuple(header for header in request.headers if header[0] in names)
    stored = CachedResponse(
        new_id,
        response.status,
        headers,
        bool(names),
        varied,
        now_s,
        _initial_age_s(headers, now_s),
        _lifetime_s(response.status, headers, now_s),
    )
    # Nobody can validate it here, so what is not fresh now, or only after asking (no-cache), never will be.
    is_fresh = age_s(stored, now_s) < stored.lifetime_s
    return stored if is_fresh and _of_hishel(request, url, [stored]) is not None else None


def choose(
    request: OutgoingRequest, url: str, stored: Sequence[CachedResponse], now_s: float
) -> CachedResponse | None:
    """Which of the responses stored under the URL (the newest first) answers a request: fresh, and for such headers."""
    fresh = [one for one in stored if age_s(one, now_s) < one.lifetime_s]
    if fresh and not fresh[0].varied_by and not any(name in _DIRECTIVES for name, _ in request.headers):
        return fresh[0]  # what hishel would say, for a tenth of the time
    return _of_hishel(request, url, fresh)


def _of_hishel(request: OutgoingRequest, url: str, fresh: Sequence[CachedResponse]) -> CachedResponse | None:
    by_id: dict[uuid.UUID, CachedResponse] = {}
    entries = []
    for one in fresh:
        # Fresh by our clock and its age; hishel, which has another clock and reckons by Date, is told that it is new.
        headers = [header for header in one.headers if header[0] not in (b"date", b"age", b"expires")]
        soon_s = time.time() + 60
        headers.append((b"date", formatdate(soon_s, usegmt=True).encode()))
        headers.append((b"expires", formatdate(soon_s + one.lifetime_s, usegmt=True).encode()))
        entry_id = uuid.uuid4()
        by_id[entry_id] = one
        kept = hishel.Response(one.status, _to_hishel(headers))
        entries.append(hishel.Entry(entry_id, _asked(url, one.varied), kept))
    asked = _asked(url, [header for header in request.headers if header[0] != b"range"])
    found = hishel.IdleClient(options=_OPTIONS).next(asked, entries)
    return by_id[found.entry.id] if isinstance(found, hishel.FromCache) else None


def age_s(stored: CachedResponse, now_s: float) -> float:
    return max(now_s - stored.stored_at_s, 0.0) + stored.age_s


def _lifetime_s(status: int, headers: Headers, now_s: float) -> float:
    """How old it may become: by max-age, s-maxage or Expires, never by guessing."""
    explicit = [header for header in headers if header[0] != b"last-modified"]
    if _date(headers, b"date") is None:  # then it was made when it came (RFC 9110 §6.6.1)
        explicit.append((b"date", formatdate(now_s, usegmt=True).encode()))
    lifetime_s = get_freshness_lifetime(hishel.Response(status, _to_hishel(explicit)), True)
    return min(lifetime_s or 0, MOST_AGE_S)


def answer_headers(stored: CachedResponse, now_s: float) -> tuple[Header, ...]:
    kept = tuple(header for header in stored.headers if header[0] not in (b"age", b"cf-cache-status"))
    return (*kept, (b"age", b"%d" % age_s(stored, now_s)), (b"cf-cache-status", b"HIT"))


def not_modified(request: OutgoingRequest, stored: CachedResponse) -> bool:
    """Whether who asks has it already (RFC 9110 §13.2.2): If-None-Match first, weakly; else If-Modified-Since."""
    if_none_match = values(request.headers, b"if-none-match")
    if if_none_match:
        etag = values(stored.headers, b"etag").removeprefix(b"W/")
        wanted = {part.strip().removeprefix(b"W/") for part in if_none_match.split(b",")}
        return b"*" in wanted or (bool(etag) and etag in wanted)
    since, modified = _date(request.headers, b"if-modified-since"), _date(stored.headers, b"last-modified")
    return since is not None and modified is not None and modified <= since


def of_304(headers: Headers) -> tuple[Header, ...]:
    return tuple(header for header in headers if header[0] in _OF_304 or header[0] == b"cf-cache-status")


def values(headers: Headers, name: bytes) -> bytes:
    """All of a header's values as one list; b"" without any."""
    return b", ".join(value for found, value in headers if found == name)


def _initial_age_s(headers: Headers, now_s: float) -> float:
    """RFC 9111 §4.2.3, without the time that the response took to come."""
    said = values(headers, b"age")
    made = _date(headers, b"date")
    apparent = 0.0 if made is None else max(0.0, now_s - made)
    return max(apparent, float(int(said)) if said.isdigit() and len(said) < 10 else 0.0)


def _date(headers: Headers, name: bytes) -> float | None:
    text = values(headers, name)
    if not text:
        return None
    try:
        return parsedate_to_datetime(text.decode("latin-1")).timestamp()
    except (ValueError, OverflowError, TypeError):
        return None


def _asked(url: str, headers: Headers) -> hishel.Request:
    return hishel.Request("GET", url, _to_hishel(headers))


def _to_hishel(headers: Headers) -> hishel.Headers:
    collected: dict[str, str | list[str]] = {}
    for name, value in headers:
        found = collected.setdefault(name.decode("latin-1"), [])
        if isinstance(found, list):
            found.append(value.decode("latin-1"))
    return hishel.Headers(collected)
