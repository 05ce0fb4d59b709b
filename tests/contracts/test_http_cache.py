"""The contract of HttpCache, held over the public fake and over SQLite alike: what may be kept comes back while it is
fresh, to whom it fits, and to nobody else (RFC 9111, and what Workers' Cache API says beyond it).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from bindings.cache import CacheStorage, StoredHttpCache, cache_delete, cache_match, cache_put
from bindings.memory import MemoryCacheStorage, MemoryEvent
from model.capabilities import WorkerEnv
from model.errors import OperationError, OperationErrorCode
from model.messages import BytesSource
from storage.cache_store import CacheStore, cache_migrations
from storage.database import Database

START = 1_795_672_800.0
URL = "https://shop.example/cart?b=1"


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite"])
async def storage(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock
) -> AsyncIterator[CacheStorage]:
    if request.param == "memory":
        yield MemoryCacheStorage()
        return
    database = Database.open(tmp_path / "cache.db", cache_migrations())
    yield CacheStore(database, now_s=clock)
    database.close()


class Worker:
    """What a guest does with its cache binding."""

    def __init__(self, cache: StoredHttpCache) -> None:
        self.cache = cache
        self.event = MemoryEvent(WorkerEnv())

    async def put(self, response: dict[str, Any], url: str = URL, **request: Any) -> bool:
        result = await cache_put(self.event, self.cache, [{"url": url, **request}, response])
        assert isinstance(result, dict)
        return bool(result["stored"])

    async def match(self, url: str = URL, options: Any = None, **request: Any) -> dict[str, Any] | None:
        return await cache_match(self.event, self.cache, [{"url": url, **request}, options])  # type: ignore[return-value]

    async def body(self, url: str = URL, **request: Any) -> bytes | None:
        found = await self.match(url, **request)
        return None if found is None else found["body"]


@pytest.fixture
def worker(storage: CacheStorage, clock: Clock) -> Worker:
    return Worker(StoredHttpCache(storage, "prod/acme", "default", START, clock))


def answer(*headers: tuple[str, str], body: bytes = b"kept", status: int = 200) -> dict[str, Any]:
    return {"status": status, "headers": [list(header) for header in headers], "body": body}


def fresh(seconds: int = 60, *headers: tuple[str, str], body: bytes = b"kept") -> dict[str, Any]:
    return answer(("cache-control", f"max-age={seconds}"), *headers, body=body)


async def test_what_was_kept_comes_back_while_it_is_fresh(worker: Worker, clock: Clock) -> None:
    assert await worker.match() is None
    assert await worker.put(fresh(60, ("x-a", "1"), ("x-a", "2"), ("content-length", "4")))
    clock.now += 59.5
    found = await worker.match()
    assert found == {
        "status": 200,
        "headers": [
            ["cache-control", "max-age=60"],
            ["x-a", "1"],
            ["x-a", "2"],
            ["age", "59"],
            ["cf-cache-status", "HIT"],
        ],
        "body": b"kept",
    }
    clock.now += 1
    assert await worker.match() is None


@pytest.mark.parametrize(
    ("headers", "stored"),
    [
        ([("cache-control", "max-age=60")], True),
        ([("cache-control", "s-maxage=60, max-age=0")], True),
        ([("cache-control", "max-age=60, s-maxage=0")], False),
        ([("cache-control", "max-age=0")], False),
        ([("cache-control", "no-store, max-age=60")], False),
        ([("cache-control", "no-cache, max-age=60")], False),
        ([("cache-control", "private, max-age=60")], False),
        ([("cache-control", "public")], False),  # for how long?
        ([], False),
        ([("expires", formatdate(START + 60, usegmt=True)), ("date", formatdate(START, usegmt=True))], True),
        ([("expires", formatdate(START + 60, usegmt=True))], True),
        ([("expires", formatdate(START - 60, usegmt=True)), ("date", formatdate(START, usegmt=True))], False),
        ([("expires", "0")], False),
        ([("cache-control", "max-age=60"), ("age", "59")], True),
        ([("cache-control", "max-age=60"), ("age", "60")], False),
        ([("cache-control", "max-age=60"), ("date", formatdate(START - 61, usegmt=True))], False),
        ([("cache-control", "max-age=60"), ("set-cookie", "a=b")], False),
        ([("cache-control", 'max-age=60, private="set-cookie"'), ("set-cookie", "a=b")], True),
    ],
)
async def test_what_its_headers_allow_is_kept(
    worker: Worker, headers: list[tuple[str, str]], stored: bool
) -> None:
    assert await worker.put(answer(*headers)) is stored
    found = await worker.match()
    assert (found is not None) is stored
    assert found is None or all(name != "set-cookie" for name, _ in found["headers"])


async def test_an_age_that_it_came_with_counts(worker: Worker, clock: Clock) -> None:
    assert await worker.put(fresh(60, ("age", "50")))
    clock.now += 9
    found = await worker.match()
    assert found is not None
    assert ["age", "59"] in found["headers"]
    clock.now += 1
    assert await worker.match() is None


async def test_expires_holds_to_the_second(worker: Worker, clock: Clock) -> None:
    expires, date = formatdate(START + 60, usegmt=True), formatdate(START - 100, usegmt=True)
    assert await worker.put(answer(("expires", expires), ("date", date)))
    clock.now += 59
    found = await worker.match()
    assert found is not None
    assert ["expires", expires] in found["headers"]
    assert ["date", date] in found["headers"]
    clock.now += 2
    assert await worker.match() is None


async def test_nothing_is_kept_for_longer_than_a_month(worker: Worker, clock: Clock) -> None:
    assert await worker.put(fresh(10 * 365 * 24 * 3600))
    clock.now += 30 * 24 * 3600 - 1
    assert await worker.match() is not None
    clock.now += 2
    assert await worker.match() is None


async def test_each_of_what_it_varies_by_is_kept_for_itself(worker: Worker) -> None:
    vary = ("vary", "Accept-Language, x-plan")
    for language in ("de", "en"):
        asked = [["accept-language", language], ["x-other", "1"]]
        assert await worker.put(fresh(60, vary, body=language.encode()), headers=asked)
    assert await worker.body(headers=[["accept-language", "de"]]) == b"de"
    assert await worker.body(headers=[["accept-language", "en"], ["x-other", "2"]]) == b"en"
    assert await worker.body(headers=[["accept-language", "fr"]]) is None
    assert await worker.body(headers=[["accept-language", "de"], ["x-plan", "big"]]) is None
    assert await worker.body() is None
    assert await worker.put(fresh(60, vary, body=b"new"), headers=[["accept-language", "de"]])
    assert await worker.body(headers=[["accept-language", "de"]]) == b"new"


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("HTTPS://SHOP.example/cart?b=1", True),
        ("https://shop.example:443/cart?b=1#top", True),
        ("http://shop.example/cart?b=1", False),
        ("https://shop.example:8443/cart?b=1", False),
        ("https://shop.example/cart?b=2", False),
        ("https://shop.example/Cart?b=1", False),
        ("https://shop.example/cart", False),
    ],
)
async def test_a_url_has_one_spelling(worker: Worker, url: str, same: bool) -> None:
    assert await worker.put(fresh())
    assert (await worker.match(url) is not None) is same


async def test_other_methods_find_nothing_unless_told(worker: Worker) -> None:
    assert await worker.put(fresh())
    assert await worker.match(method="POST") is None
    assert await worker.match(method="HEAD") is None
    assert await worker.match(method="POST", options={"ignore_method": True}) is not None
    assert await cache_delete(worker.event, worker.cache, [{"url": URL, "method": "POST"}]) is False
    assert await worker.match() is not None
    assert await cache_delete(worker.event, worker.cache, [{"url": URL}]) is True
    assert await cache_delete(worker.event, worker.cache, [{"url": URL}]) is False
    assert await worker.match() is None


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ([["if-none-match", '"v1"']], 304),
        ([["if-none-match", 'W/"v1"']], 304),  # weakly
        ([["if-none-match", '"v0", "v1"']], 304),
        ([["if-none-match", "*"]], 304),
        ([["if-none-match", '"v2"']], 200),
        (
            [["if-none-match", '"v2"'], ["if-modified-since", formatdate(START, usegmt=True)]],
            200,
        ),  # the first counts
        ([["if-modified-since", formatdate(START - 10, usegmt=True)]], 304),
        ([["if-modified-since", formatdate(START - 11, usegmt=True)]], 200),
        ([["if-modified-since", "yesterday"]], 200),
        ([["cache-control", "no-cache"]], None),
        ([["range", "bytes=0-1"]], 200),
    ],
)
async def test_conditional_requests(worker: Worker, asked: list[list[str]], status: int | None) -> None:
    modified = ("last-modified", formatdate(START - 10, usegmt=True))
    assert await worker.put(fresh(60, ("etag", '"v1"'), modified, ("x-a", "1")))
    found = await worker.match(headers=asked)
    assert (None if found is None else found["status"]) == status
    if found is not None and status == 304:
        assert "body" not in found
        names = {name for name, _ in found["headers"]}
        assert names == {"etag", "cache-control", "last-modified", "age", "cf-cache-status"}


@pytest.mark.parametrize(
    ("request_map", "response"),
    [
        ({"url": URL, "method": "POST"}, fresh()),
        ({"url": URL, "method": "HEAD"}, fresh()),
        ({"url": URL}, answer(("cache-control", "max-age=60"), status=206)),
        ({"url": URL}, fresh(60, ("vary", "*"))),
        ({"url": URL}, fresh(60, ("vary", "accept"), ("vary", "a, *"))),
        ({"url": URL}, answer(status=101)),
        ({"url": URL}, {"headers": []}),
        ({"url": URL}, {"status": True}),
        ({"url": URL}, b"kept"),
        ({"url": "/cart"}, fresh()),
        ({"url": "ftp://shop.example/"}, fresh()),
        ({"url": "https://"}, fresh()),
        ({"url": "https://shop.example:x/"}, fresh()),
        ({"url": "https://shop.ex\u00e4mple/"}, fresh()),
        ({}, fresh()),
    ],
)
async def test_what_is_no_put_is_said(worker: Worker, request_map: dict[str, Any], response: Any) -> None:
    with pytest.raises(OperationError) as refused:
        await cache_put(worker.event, worker.cache, [request_map, response])
    assert refused.value.code is OperationErrorCode.INVALID_ARGUMENT
    assert await worker.match() is None


async def test_large_bodies_come_and_go_as_streams(worker: Worker) -> None:
    body = bytes(range(256)) * 4_000
    stream = worker.event.lend_stream(BytesSource(body))
    assert await worker.put(
        {"status": 200, "headers": [["cache-control", "max-age=60"]], "body_stream": stream}
    )
    found = await worker.match()
    assert found is not None
    source = worker.event.borrow_stream(found["body_stream"])
    got = b""
    while piece := await source.read():
        got += piece
    assert got == body


async def test_tenants_and_names_are_apart(storage: CacheStorage, clock: Clock) -> None:
    def cache(owner: str, name: str = "default", since_s: float = START) -> Worker:
        return Worker(StoredHttpCache(storage, owner, name, since_s, clock))

    assert await cache("prod/acme").put(fresh())
    assert await cache("prod/acme").body() == b"kept"
    for other in (cache("prod/other"), cache("/acme"), cache("prod/acme", "api")):
        assert await other.match() is None
        assert await cache_delete(other.event, other.cache, [{"url": URL}]) is False
    # A tenant of this name that came later.
    clock.now += 10
    later = cache("prod/acme", since_s=clock.now)
    assert await later.match() is None
    assert await later.put(fresh(body=b"its own"))
    assert await later.body() == b"its own"
