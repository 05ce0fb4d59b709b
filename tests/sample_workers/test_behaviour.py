"""Each sample worker does what its README says, in the real runtime, with the real table of operations over
capabilities in memory.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import pytest

from bindings.dispatch_namespace import StoredDispatcher
from bindings.memory import (
    MemoryDataset,
    MemoryFetcher,
    MemoryKvNamespace,
    MemoryQueueProducer,
    MemoryRunner,
    MemorySqlDatabase,
    memory_env,
)
from bindings.service import NamedService
from model.analytics import DataPoint
from model.capabilities import Binding, KvEntry, WorkerEnv
from model.errors import OperationError, OperationErrorCode
from model.identity import DEFAULT_ACCOUNT, NamespaceName, ScriptName, TenantId, VersionId
from model.messages import BytesSource, OutgoingRequest, Response
from model.outcome import EventOutcome
from model.scripts import BindingKind, ScriptRef, ScriptVersion
from tests.support.guests import Guests, context, request

NAMESPACE = NamespaceName("production")


class Chunks:
    """A body of `size` bytes that comes in chunks which are no multiple of what a worker reads."""

    def __init__(self, size: int) -> None:
        self.data = bytes(range(251)) * (size // 251 + 1)
        self.left = self.data = self.data[:size]

    async def read(self) -> bytes:
        chunk, self.left = self.left[:10_007], self.left[10_007:]
        return chunk

    def close(self) -> None:
        self.left = b""


def kv_env(name: str, **values: bytes) -> tuple[MemoryKvNamespace, WorkerEnv]:
    store = MemoryKvNamespace()
    for key, value in values.items():
        store.entries[key.encode()] = KvEntry(value, None, None)
    return store, memory_env(**{name: Binding(BindingKind.KV_NAMESPACE, store)})


def lookup_of(*refs: ScriptRef) -> Callable[[ScriptRef], ScriptVersion | None]:
    versions = {
        ref: ScriptVersion(
            DEFAULT_ACCOUNT, ref, TenantId(ref.script), VersionId("v"), "0" * 64, frozenset({"fetch"})
        )
        for ref in refs
    }
    return versions.get


async def text(guests: Guests, name: str, path: str, env: WorkerEnv | None = None) -> tuple[int, str]:
    ending, response = await guests.fetch(guests.worker(guests.sample(name), env=env), request(path=path))
    assert ending.outcome is EventOutcome.OK, ending.message
    return response.status, bytes(response.body).decode()


async def test_counter_goes_on_from_what_is_stored(guests: Guests) -> None:
    store, env = kv_env("COUNTER")
    assert [await text(guests, "kv_counter", "/", env) for _ in range(3)] == [
        (200, "1\n"),
        (200, "2\n"),
        (200, "3\n"),
    ]
    assert store.entries[b"visits"].value == b"3"


async def test_a_guest_book_is_signed_and_read(guests: Guests) -> None:
    database = MemorySqlDatabase()
    env = memory_env(DB=Binding(BindingKind.D1, database))
    worker = guests.worker(guests.sample("guest_book"), env=env)
    assert (await text(guests, "guest_book", "/", env))[0] == 503  # no table yet
    for number, entry in enumerate([b"Hello", "Grüße".encode()], 1):
        _, response = await guests.fetch(worker, request(method="POST", path="/?name=Ada", body=entry))
        assert (response.status, bytes(response.body)) == (201, b"%d\n" % number)
    assert await text(guests, "guest_book", "/", env) == (200, "2 Ada: Grüße\n1 Ada: Hello\n")
    assert await text(guests, "guest_book", "/entries/1", env) == (200, "1 Ada: Hello\n")
    _, refused = await guests.fetch(worker, request(method="POST", path="/", body=b""))
    assert refused.status == 400
    assert b"CHECK constraint failed" in bytes(refused.body)
    database.close()


async def test_each_visit_is_a_data_point(guests: Guests) -> None:
    dataset = MemoryDataset()
    env = memory_env(VISITS=Binding(BindingKind.ANALYTICS_ENGINE, dataset))
    worker = guests.worker(guests.sample("visits"), env=env)
    assert await text(guests, "visits", "/shop?a=1", env) == (200, "Counted a visit to /shop\n")
    await guests.fetch(worker, request("POST", "/", body=b"four"))
    assert dataset.points == [
        DataPoint("a.example.com", ("/shop", "GET"), (1.0, 0.0), 21),
        DataPoint("a.example.com", ("/", "POST"), (1.0, 4.0), 18),
    ]


async def test_kv_read_answers_with_the_value_of_its_path_whole_or_streamed(guests: Guests) -> None:
    _, env = kv_env("STORE", **{"/small": b"a value", "/large": b"v" * 200_000})
    assert await text(guests, "kv_read", "/small?x=/large", env) == (200, "a value")
    assert await text(guests, "kv_read", "/large", env) == (200, "v" * 200_000)
    assert (await text(guests, "kv_read", "/none", env))[0] == 404


async def test_notes_are_stored_read_and_forgotten_by_the_zig_worker(guests: Guests) -> None:
    store, env = kv_env("NOTES")
    worker = guests.worker(guests.sample("notes_zig"), env=env)
    body = Chunks(150_000)
    _, response = await guests.fetch(worker, request("PUT", "/note", body=body))
    assert response.status == 201
    assert store.entries[b"note"].value == body.data
    assert guests.observer.texts == ["stored the note note"]
    _, response = await guests.fetch(worker, request(path="/note"))
    assert bytes(response.body) == body.data
    _, response = await guests.fetch(worker, request("DELETE", "/note"))
    assert response.status == 200
    assert (await guests.fetch(worker, request(path="/note")))[1].status == 404


@pytest.mark.parametrize("path", ["/", "/?pass", "/?pass=1&x"])
@pytest.mark.parametrize("size", [0, 1, 65_536, 300_000])
async def test_echo_sends_every_byte_back(guests: Guests, path: str, size: int) -> None:
    worker = guests.worker(guests.sample("echo"))
    body = Chunks(size)
    headers = [(b"content-type", b"image/png")]
    ending, response = await guests.fetch(worker, request("POST", path, headers, body))
    assert ending.outcome is EventOutcome.OK, ending.message
    assert bytes(response.body) == body.data
    assert {(b"content-type", b"image/png"), (b"x-echo-method", b"POST")} <= set(response.headers)


async def test_echo_lists_headers_in_order_with_repeats(guests: Guests) -> None:
    worker = guests.worker(guests.sample("echo"))
    headers = [(b"x-a", b"1"), (b"x-b", b"\xff"), (b"x-a", b"2")]
    _, response = await guests.fetch(worker, request(path="/headers", headers=headers))
    assert bytes(response.body).endswith(b"x-a: 1\nx-b: \xff\nx-a: 2\n")


async def test_fetch_proxy_passes_the_origins_answer_through(guests: Guests) -> None:
    fetcher = MemoryFetcher(lambda _: Response(418, [(b"x-origin", b"tea")], BytesSource(b"pot" * 50_000)))
    worker = guests.worker(guests.sample("fetch_proxy"), env=WorkerEnv(fetcher=fetcher))
    asked = request(path="/?url=http%3A%2F%2Forigin.example%2Fa%3Fb%3Dc")
    _, response = await guests.fetch(worker, asked)
    assert fetcher.requests[0][0].url == "http://origin.example/a?b=c"
    assert (response.status, bytes(response.body)) == (418, b"pot" * 50_000)
    assert (b"x-origin", b"tea") in response.headers


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (OperationErrorCode.DENIED, 403),
        (OperationErrorCode.INVALID_ARGUMENT, 400),
        (OperationErrorCode.TIMEOUT, 504),
        (OperationErrorCode.UPSTREAM_FAILED, 502),
    ],
)
async def test_fetch_proxy_says_why_it_could_not(
    guests: Guests, code: OperationErrorCode, status: int
) -> None:
    def refuse(_: OutgoingRequest) -> Response:
        raise OperationError(code, "the reason")

    env = WorkerEnv(fetcher=MemoryFetcher(refuse))
    assert await text(guests, "fetch_proxy", "/?url=http://x.example/", env) == (
        status,
        f"{code.value}: the reason\n",
    )


async def test_visitors_bytes_that_are_no_utf8_break_no_worker(guests: Guests) -> None:
    fetcher = MemoryFetcher(lambda _: Response(200))
    await text(guests, "fetch_proxy", "/?url=%ff%c0%80%ed%a0%80%f4%90%80%80x", WorkerEnv(fetcher=fetcher))
    # A surrogate, an overlong NUL, what is beyond U+10FFFF: each would be refused by the host's decoder.
    assert fetcher.requests[0][0].url == "?" * 10 + "x"
    await text(guests, "fetch_proxy", "/?url=%C3%A4%E2%82%AC%F0%9F%8E%89", WorkerEnv(fetcher=fetcher))
    assert fetcher.requests[1][0].url == "ä€🎉"


@pytest.mark.parametrize("size", [1, 100_000])
async def test_producer_sends_the_body(guests: Guests, size: int) -> None:
    queue = MemoryQueueProducer()
    worker = guests.worker(
        guests.sample("queue_producer"), env=memory_env(QUEUE=Binding(BindingKind.QUEUE, queue))
    )
    body = Chunks(size)
    _, response = await guests.fetch(worker, request("POST", body=body))
    assert response.status == 202
    assert [(message.body, message.content_type) for message in queue.messages] == [(body.data, "bytes")]


async def test_consumer_keeps_logs_and_retries(guests: Guests) -> None:
    store, env = kv_env("SEEN")
    worker = guests.worker(guests.sample("queue_consumer"), env=env)
    messages = [
        {"id": f"m{n}", "timestamp_ms": 1, "attempts": 1, "body": body, "content_type": "text"}
        for n, body in enumerate(["one", "retry", b"three"])
    ]
    ending, answer = await worker.background("queue", {"queue": "q", "messages": messages}, context())
    assert ending.outcome is EventOutcome.OK, ending.message
    assert answer == {"retry": [["m1", 0]]}
    assert {key: entry.value for key, entry in store.entries.items()} == {
        b"m0": b"one",
        b"m2": b"three",
        b"latest": b"three",
    }
    assert guests.observer.texts == ["message m0: one", "message m1: retry", "message m2: three"]
    assert await text(guests, "queue_consumer", "/m0", env) == (200, "one")
    ending, _ = await worker.background("queue", {"messages": [{"id": "x", "body": "fail"}]}, context())
    assert ending.outcome is EventOutcome.EXCEPTION


async def test_scheduled_notes_its_run(guests: Guests) -> None:
    store, env = kv_env("RUNS")
    assert await text(guests, "scheduled", "/", env) == (200, "never\n")
    worker = guests.worker(guests.sample("scheduled"), env=env)
    tick = {"cron": "*/5 * * * *", "scheduled_time_ms": 1_790_000_000_123}
    ending, answer = await worker.background("scheduled", tick, context())
    assert (ending.outcome, answer) == (EventOutcome.OK, None)
    assert store.entries[b"last"].value == b"1790000000123 */5 * * * *"
    assert (await text(guests, "scheduled", "/", env))[1] == "1790000000123 */5 * * * *\n"


async def test_dispatcher_picks_the_tenants_worker_and_tells_its_plan(guests: Guests) -> None:
    acme = ScriptRef(NAMESPACE, ScriptName("acme"))
    runner = MemoryRunner({acme: lambda _: Response(200, [(b"x-by", b"acme")], BytesSource(b"acme here"))})
    tenants = StoredDispatcher(runner, lookup_of(acme), DEFAULT_ACCOUNT, NAMESPACE)
    env = WorkerEnv(
        vars={"PLAN": "pro", "CPU_MS": "20"},
        bindings={"TENANTS": Binding(BindingKind.DISPATCH_NAMESPACE, tenants)},
    )
    worker = guests.worker(guests.sample("dispatcher"), env=env)

    async def answer(*headers: tuple[bytes, bytes]) -> tuple[int, bytes]:
        ending, response = await guests.fetch(worker, request("POST", "/p?q", headers, b"body"))
        assert ending.outcome is EventOutcome.OK, ending.message
        return response.status, bytes(response.body)

    assert await answer((b"x-tenant", b"acme")) == (200, b"acme here")
    [(ref, passed, options)] = runner.calls
    assert (ref, passed.method, passed.url, passed.body) == (
        acme,
        "POST",
        "http://a.example.com/p?q",
        b"body",
    )
    assert (dict(options.params), dict(options.limits)) == ({"plan": "pro"}, {"cpu_ms": 20})
    assert await answer((b"x-tenant", b"nobody")) == (404, b"Worker not found: nobody\n")
    assert (await answer((b"x-tenant", b"No Name!")))[0] == 400
    assert (await answer((b"x-tenant", b"\xff\xfe")))[0] == 400
    assert (await answer())[0] == 400


async def test_service_caller_hands_request_and_answer_on(guests: Guests) -> None:
    backend = ScriptRef(None, ScriptName("backend"))
    runner = MemoryRunner({backend: lambda _: Response(201, [], BytesSource(b"from behind"))})
    service = NamedService(runner, lookup_of(backend), DEFAULT_ACCOUNT, None, ScriptName("backend"))
    env = memory_env(BACKEND=Binding(BindingKind.SERVICE, service))
    assert await text(guests, "service_caller", "/path", env) == (201, "from behind")
    assert runner.calls[0][1].url == "http://a.example.com/path"
    broken = NamedService(runner, lookup_of(), DEFAULT_ACCOUNT, None, ScriptName("backend"))
    env = memory_env(BACKEND=Binding(BindingKind.SERVICE, broken))
    status, body = await text(guests, "service_caller", "/", env)
    assert (status, body) == (502, "worker_not_found: Worker not found: backend\n")


async def test_background_writes_after_its_response(guests: Guests) -> None:
    store, env = kv_env("STORE")
    assert (await text(guests, "background", "/last", env))[0] == 404
    assert (await text(guests, "background", "/?ms=1&value=later", env))[0] == 200
    assert store.entries[b"background"].value == b"later"
    assert await text(guests, "background", "/last", env) == (200, "later")


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 1_000_000])
async def test_download_has_exactly_the_bytes_asked_for(guests: Guests, size: int) -> None:
    ending, response = await guests.fetch(
        guests.worker(guests.sample("big_download")), request(path=f"/?bytes={size}")
    )
    assert ending.outcome is EventOutcome.OK, ending.message
    assert response.ended
    alphabet = (bytes(range(97, 123)) * 2521)[:65_536]
    assert bytes(response.body) == (alphabet * (size // 65_536 + 1))[:size]


@pytest.mark.parametrize("size", [0, 1, 5_552, 5_553, 400_000])
async def test_upload_sum_is_zlibs(guests: Guests, size: int) -> None:
    body = Chunks(size)
    _, response = await guests.fetch(guests.worker(guests.sample("upload_sum")), request("POST", body=body))
    assert bytes(response.body).decode() == f"{size} {zlib.adler32(body.data)}\n"
