"""The cache binding: responses that a tenant's workers keep, with the semantics of Workers' Cache API."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, cast

import msgspec

from bindings.arguments import check_count, parse_options
from bindings.cache_rules import (
    CachedResponse,
    answer_headers,
    cache_key,
    check_put,
    choose,
    not_modified,
    of_304,
    to_store,
)
from bindings.failures import broken_stream, unavailable
from bindings.http_values import parse_request, parse_response, response_value
from bindings.large_values import LARGE_VALUES, LargeValue
from model.capabilities import GuestEvent, HttpCache
from model.clock import unix_s
from model.errors import OperationError, OperationErrorCode, UpstreamError
from model.messages import Body, OutgoingRequest, Response, StreamClosed
from storage.cache_store import CachePlace
from storage.failures import StorageError

BODY_BYTES: Final = 25 << 20
INLINE_BYTES: Final = 64 * 1024
_MATCH_OPTIONS: Final = frozenset({"ignore_method"})

_encode: Final = msgspec.msgpack.encode
_decode: Final = msgspec.msgpack.Decoder(CachedResponse).decode


class CacheStorage(Protocol):
    """Where stored responses are: storage.cache_store.CacheStore. Raises StorageError."""

    def find(self, place: CachePlace) -> list[bytes]:
        """The records under a URL, the newest first."""

    async def body(self, entry_id: str) -> bytes | None:
        """None: it is gone."""

    async def put(
        self, place: CachePlace, entry_id: str, record: bytes, varied: bytes, at_s: float, body: bytes
    ) -> None:
        """Takes the place of one with the same `varied`; others may have to go for it."""

    async def delete(self, place: CachePlace) -> bool:
        """All under a URL; whether there was one."""


class StoredHttpCache:
    """An HttpCache of one tenant, by name."""

    __slots__ = ("_name", "_now_s", "_owner", "_since_s", "_storage")

    def __init__(
        self,
        storage: CacheStorage,
        owner: str,
        name: str,
        since_s: float,
        now_s: Callable[[], float] = unix_s,
    ) -> None:
        """`since_s`: when the script that asks was made: an owner of the same name before is another one."""
        self._storage = storage
        self._owner = owner
        self._name = name
        self._since_s = since_s
        self._now_s = now_s

    async def match(self, request: OutgoingRequest, ignore_method: bool) -> Response | None:
        url = cache_key("cache.match", request)
        if request.method != "GET" and not ignore_method:
            return None
        now_s = self._now_s()
        place = self._place(url)
        found = choose(request, url, [_decode(record) for record in self._storage.find(place)], now_s)
        if found is None:
            return None
        headers = answer_headers(found, now_s)
        if not_modified(request, found):
            return Response(304, of_304(headers))
        body = await self._storage.body(found.id)
        if body is None:
            return None
        if len(body) <= INLINE_BYTES:
            return Response(found.status, headers, body)
        return Response(found.status, headers, LargeValue(body, LARGE_VALUES))

    async def put(self, request: OutgoingRequest, response: Response, body: bytes) -> bool:
        url = cache_key("cache.put", request)
        now_s = self._now_s()
        stored = to_store(request, url, response, now_s, secrets.token_hex(16))
        if stored is None:
            return False
        await self._storage.put(
            self._place(url), stored.id, _encode(stored), _encode(sorted(stored.varied)), now_s, body
        )
        return True

    async def delete(self, request: OutgoingRequest, ignore_method: bool) -> bool:
        url = cache_key("cache.delete", request)
        if request.method != "GET" and not ignore_method:
            return False
        return await self._storage.delete(self._place(url))

    def _place(self, url: str) -> CachePlace:
        return CachePlace(self._owner, self._name, url, self._since_s)


async def cache_match(event: GuestEvent, lent: object, args: Sequence[object]) -> object:
    check_count("cache.match", args, 1, 2, "request, options?")
    request, ignore_method = _parse("cache.match", event, args)
    try:
        found = await cast("HttpCache", lent).match(request, ignore_method)
    except StorageError as error:
        raise unavailable(error) from error
    return None if found is None else response_value(event, found)


async def cache_put(event: GuestEvent, lent: object, args: Sequence[object]) -> object:
    check_count("cache.put", args, 2, 2, "request, response")
    request, _ = _parse("cache.put", event, args[:1])
    response = parse_response("cache.put", event, args[1])
    held = 0

    def count(size: int) -> None:
        nonlocal held
        LARGE_VALUES.take(size)
        held += size

    try:
        try:
            check_put(request, response)
        except BaseException:
            _close(response.body)
            raise
        body = await _read(response.body, count)
        stored = await cast("HttpCache", lent).put(request, response, body)
    except StorageError as error:
        raise unavailable(error) from error
    finally:
        LARGE_VALUES.give(held)
    return {"stored": stored}


async def cache_delete(event: GuestEvent, lent: object, args: Sequence[object]) -> object:
    check_count("cache.delete", args, 1, 2, "request, options?")
    request, ignore_method = _parse("cache.delete", event, args)
    try:
        return await cast("HttpCache", lent).delete(request, ignore_method)
    except StorageError as error:
        raise unavailable(error) from error


def _parse(operation: str, event: GuestEvent, args: Sequence[Any]) -> tuple[OutgoingRequest, bool]:
    options = parse_options(operation, args[1] if len(args) > 1 else None, _MATCH_OPTIONS)
    ignore_method = options.get("ignore_method", False)
    if not isinstance(ignore_method, bool):
        raise OperationError(
            OperationErrorCode.INVALID_ARGUMENT,
            f"{operation}: options: ignore_method: true or false is right",
        )
    request = parse_request(operation, event, args[0])
    _close(request.body)  # no part of a key
    return request, ignore_method


async def _read(body: Body, count: Callable[[int], None]) -> bytes:
    """All of it, counted as it comes. Raises OperationError."""
    if body is None or isinstance(body, bytes):
        return body or b""
    parts: list[bytes] = []
    size = 0
    try:
        while chunk := await body.read():
            size += len(chunk)
            if size > BODY_BYTES:
                raise OperationError(
                    OperationErrorCode.LIMIT_EXCEEDED,
                    f"the body is above {BODY_BYTES} bytes; nothing was stored",
                )
            count(len(chunk))
            parts.append(chunk)
    except (StreamClosed, UpstreamError) as error:
        raise broken_stream(error) from error
    finally:
        body.close()
    return b"".join(parts)


def _close(body: Body) -> None:
    if body is not None and not isinstance(body, bytes):
        body.close()
