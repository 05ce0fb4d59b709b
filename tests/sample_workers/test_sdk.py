"""Each SDK has a function for every operation of the table, and what it sends is what the operation takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bindings.cache import StoredHttpCache
from bindings.dispatch_namespace import StoredDispatcher
from bindings.memory import (
    MemoryCacheStorage,
    MemoryDataset,
    MemoryFetcher,
    MemoryKvNamespace,
    MemoryQueueProducer,
    MemoryRateLimiter,
    MemoryRunner,
    MemorySecret,
    MemorySqlDatabase,
    memory_env,
)
from bindings.operations import REFERENCE
from bindings.service import NamedService
from model.analytics import DataPoint
from model.capabilities import Binding, WorkerEnv
from model.identity import DEFAULT_ACCOUNT, NamespaceName, ScriptName
from model.messages import OutgoingRequest, Response
from model.outcome import EventOutcome
from model.scripts import BindingKind, ScriptRef
from sample_workers.build import SDK, build
from tests.sample_workers.test_behaviour import NAMESPACE, Chunks, lookup_of
from tests.support.guests import Guests, request

#: Where each SDK names the operation that it begins.
SOURCES = {
    "c": (SDK / "c" / "tenantry.h", r'\btn_begin\("([^"]+)"'),
    "zig": (SDK / "zig" / "tenantry.zig", r'\bbegin\("([^"]+)"'),
}
TOLD = """\
kv.put: ok
kv.increment: 10
kv.compare_and_swap: yes
kv.compare_and_swap: no
kv.get: 11
kv.get_many: 11
kv.list: k
kv.delete: ok
queue.send: ok
queue.send_batch: ok
d1.exec: ok
d1.batch: 1
d1.query: 1
secret.get: hidden
cache.put: yes
cache.match: k
cache.delete: yes
rate_limit.limit: yes
analytics.write: ok
fetch: 203
fetch: POST b k
service.fetch: 204
dispatch.fetch: 202
stream.open: ok
stream.write: ok
stream.end: ok
stream.close: ok
sleep: ok
"""
#: What `/streamed` asks for instead.
STREAMED = {"stream.read", "response.start", "response.write", "response.end"}


#: What lends nothing and only computes: a worker in C or Zig brings its own library, which costs no crossing.
COMPUTING = ("compression.", "crypto.")
#: What the SDKs have no word for: what JavaScript workers ask of each other in words of their engine's own; and what is
#: pending while others are waited for, where an SDK's call waits for the one that it asked (docs/decisions/0021).
WITHOUT_A_WORD = {"service.call", "visitor.left"}
WANTED = {row.name for row in REFERENCE if not row.name.startswith(COMPUTING)} - WITHOUT_A_WORD


@pytest.mark.parametrize("language", SOURCES)
def test_sdk_has_a_function_for_every_operation_and_for_no_other(language: str) -> None:
    path, pattern = SOURCES[language]
    assert set(re.findall(pattern, path.read_text())) == WANTED


def test_the_guests_below_ask_for_every_operation() -> None:
    asked = {line.partition(":")[0] for line in TOLD.splitlines()}
    assert asked | STREAMED == WANTED


@pytest.mark.toolchain
@pytest.mark.parametrize("language", SOURCES)
async def test_every_operation_answers_what_the_sdk_asks(
    guests: Guests, language: str, tmp_path: Path
) -> None:
    build(Path(__file__).with_name(f"every_operation.{language}"), tmp_path / "out.wasm")
    service, shop = ScriptRef(None, ScriptName("service")), ScriptRef(NAMESPACE, ScriptName("shop"))
    runner = MemoryRunner({service: lambda _: Response(204), shop: lambda _: Response(202)})
    database, queue, dataset = MemorySqlDatabase(), MemoryQueueProducer(), MemoryDataset()
    lookup = lookup_of(service, shop)
    env = memory_env(
        KV=Binding(BindingKind.KV_NAMESPACE, MemoryKvNamespace()),
        QUEUE=Binding(BindingKind.QUEUE, queue),
        DB=Binding(BindingKind.D1, database),
        SECRET=Binding(BindingKind.SECRET_TEXT, MemorySecret("hidden")),
        CACHE=Binding(BindingKind.CACHE, StoredHttpCache(MemoryCacheStorage(), "o", "c", 0.0)),
        LIMIT=Binding(BindingKind.RATE_LIMIT, MemoryRateLimiter(1, 60)),
        POINTS=Binding(BindingKind.ANALYTICS_ENGINE, dataset),
        SERVICE=Binding(
            BindingKind.SERVICE, NamedService(runner, lookup, DEFAULT_ACCOUNT, None, service.script)
        ),
        DISPATCH=Binding(
            BindingKind.DISPATCH_NAMESPACE,
            StoredDispatcher(runner, lookup, DEFAULT_ACCOUNT, NamespaceName(NAMESPACE), None),
        ),
    )
    worker = guests.worker(
        (tmp_path / "out.wasm").read_bytes(),
        env=WorkerEnv(bindings=env.bindings, fetcher=MemoryFetcher(_answer)),
    )
    ending, response = await guests.fetch(worker, request())
    assert ending.outcome is EventOutcome.OK, ending.message
    assert response.body.decode() == TOLD
    assert [message.body for message in queue.messages] == [b"k", b"k", b"7"]
    assert dataset.points == [DataPoint("k", ("k", "7"), (1.5, -2.0), 3)]
    assert runner.calls[-1][2].params == {"plan": "gold"}
    database.close()

    body = Chunks(100_000)
    ending, response = await guests.fetch(worker, request("POST", "/streamed", body=body))
    assert (ending.outcome, response.status) == (EventOutcome.OK, 201)
    assert bytes(response.body) == body.data[:5] + b"parts"


def _answer(sent: OutgoingRequest) -> Response:
    if sent.method == "GET":
        return Response(203)
    assert isinstance(sent.body, bytes)
    given = dict(sent.headers)[b"x-a"]
    return Response(200, [], sent.method.encode() + b" " + given + b" " + sent.body)
