"""Rule: a request leaves by the gateway, as its asker's, or not at all; an outbound worker takes a slot at once or
fails, and what it was lent is let go of in every case. Real guests, a gateway that remembers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest
from msgspec.structs import replace

from bindings.operations import OPERATIONS
from dispatch.admission import Admission, AdmissionLimits
from dispatch.hook import Hook
from dispatch.outbound_worker import OutboundWorkers
from dispatch.runner import MAX_DEPTH, TreeRunner
from dispatch.workers import Workers
from model.capabilities import EventContext, WorkerEnv
from model.errors import OperationError, OperationErrorCode
from model.identity import ScriptName
from model.messages import OutgoingRequest, Response
from model.outcome import EventOutcome
from model.scripts import OutboundStep, OutboundWorker, ScriptRef
from outbound.target import canonical_url
from runtime.capi.guest import live_guests
from runtime.worker import Worker
from tests.dispatch.outbound_hooks import by_path
from tests.security.calling import call, caller
from tests.support.guests import Guests, Remembered, context, request

URL = "http://upstream.example/"


class Body:
    """A ByteSource of some pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)
        self.closed = False

    async def read(self) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    def close(self) -> None:
        self.closed = True


class Gateway:
    """Answers what it was sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[OutgoingRequest, EventContext, bytes]] = []
        self.refuses = False

    async def fetch(self, request: OutgoingRequest, context: EventContext) -> Response:
        body = request.body or b""
        data = body if isinstance(body, bytes) else b""
        if not isinstance(body, bytes):
            while piece := await body.read():
                data += piece
            body.close()
        self.sent.append((request, context, data))
        if self.refuses:
            raise OperationError(OperationErrorCode.DENIED, "policy.rule_deny")
        return Response(200, [], data)


def returning(value: object) -> bytes:
    """A worker that returns one value to every request."""
    return caller(returns=value)


class Platform:
    def __init__(self, limits: AdmissionLimits | None = None) -> None:
        self.gateway = Gateway()
        self.guests = Guests(OPERATIONS)
        self.runner = TreeRunner()
        self.runner.use(cast(Workers, self))
        self.workers: dict[str, Worker] = {}
        self.admission = Admission(limits)
        hooks = {"watch": Hook("watch", by_path, 0.3)}  # type: ignore[arg-type]  # as load_hook takes any
        self.way_out = OutboundWorkers(self.gateway, self.runner, canonical_url, hooks)

    def get(self, ref: ScriptRef) -> Worker | None:
        return self.workers.get(ref.script)

    def deploy(self, name: str, wasm: bytes) -> OutboundWorker:
        self.workers[name] = self.guests.worker(wasm, name=name, env=WorkerEnv(fetcher=self.way_out))
        return OutboundWorker(ScriptRef(None, ScriptName(name)))

    async def fetch(
        self, worker: OutboundWorker, outgoing: OutgoingRequest | None = None, **changed: object
    ) -> Response:
        """As the event of a user worker would, holding a permit of its own."""
        permit = self.admission.try_admit("acme")
        assert permit is not None
        whose = replace(context("asker", "prod", "acme"), permit=permit, outbound_worker=worker, **changed)
        try:
            response = await self.way_out.fetch(outgoing or OutgoingRequest("GET", URL), whose)
            if not (response.body is None or isinstance(response.body, bytes)):
                pieces = b""
                while piece := await response.body.read():
                    pieces += piece
                response.body.close()
                response = Response(response.status, response.headers, pieces)
            return response
        finally:
            await self.runner.wait_for_tree(permit)
            permit.release()

    async def failure(
        self, worker: OutboundWorker, outgoing: OutgoingRequest | None = None, **changed: object
    ) -> OperationError:
        with pytest.raises(OperationError) as caught:
            await self.fetch(worker, outgoing, **changed)
        return caught.value


@pytest.fixture
async def platform() -> AsyncIterator[Platform]:
    made = Platform()
    yield made
    made.guests.close()
    assert live_guests() == 0
    assert (made.admission.running, made.admission.suspended, made.admission.slots) == (0, 0, 0)


async def test_a_request_goes_on_changed_with_its_body_unread(platform: Platform) -> None:
    changes = {
        "url": "http://elsewhere.example/x",
        "method": "PUT",
        "set_headers": [["A", "1"], ["a", b"2"], ["gone", None], ["new", "3"]],
    }
    worker = platform.deploy("guard", returning({"continue": changes}))
    body = Body(b"one ", b"two")
    headers = [(b"a", b"0"), (b"gone", b"0"), (b"stays", b"0")]
    response = await platform.fetch(worker, OutgoingRequest("POST", URL, headers, body))
    assert (response.body, body.closed) == (b"one two", True)
    ((sent, whose, _),) = platform.gateway.sent
    assert (sent.method, sent.url) == ("PUT", "http://elsewhere.example/x")
    assert sent.headers == [(b"stays", b"0"), (b"a", b"1"), (b"a", b"2"), (b"new", b"3")]
    assert (whose.tenant, whose.script, whose.namespace) == ("acme", "asker", "prod")
    assert whose.outbound_step == OutboundStep("guard", "continue")
    (record,) = platform.guests.observer.records
    assert (record.script, record.outcome, record.status, record.depth) == ("guard", EventOutcome.OK, 0, 1)


async def test_an_asker_does_not_take_away_what_the_outbound_worker_adds(platform: Platform) -> None:
    """The gateway drops what Connection names, and CGI reads `x_plan` as `x-plan`: neither word is the asker's."""
    worker = platform.deploy(
        "guard", returning({"continue": {"set_headers": [["x-plan", "free"], ["x-b", "1"]]}})
    )
    asked = [
        (b"connection", b"x-plan, Keep-Alive"),
        (b"connection", b"x-own"),
        (b"x_plan", b"pro"),
        (b"x-own", b"1"),
        (b"x-k", b"v"),
    ]
    await platform.fetch(worker, OutgoingRequest("GET", URL, asked))
    ((sent, _, _),) = platform.gateway.sent
    assert list(sent.headers) == [(b"x-k", b"v"), (b"x-plan", b"free"), (b"x-b", b"1")]


async def test_what_the_gateway_refuses_is_left_for_it_to_refuse(platform: Platform) -> None:
    worker = platform.deploy("guard", returning({"continue": {}}))
    asked = [(b"connection", b"upgrade, host"), (b"upgrade", b"websocket"), (b"host", b"evil.example")]
    await platform.fetch(worker, OutgoingRequest("GET", URL, asked))
    ((sent, _, _),) = platform.gateway.sent
    assert list(sent.headers) == asked[1:]


async def test_a_refusal_of_the_gateway_reaches_the_asker_in_its_own_words(platform: Platform) -> None:
    worker = platform.deploy("guard", returning({"continue": {}}))
    platform.gateway.refuses = True
    assert (await platform.failure(worker)).message == "policy.rule_deny"


@pytest.mark.parametrize(
    "value",
    [
        {"continue": None},
        {"continue": {"body": b"x"}},
        {"continue": {"url": 3}},
        {"continue": {"set_headers": {"a": "b"}}},
        {"continue": {"set_headers": [["a"]]}},
        {"continue": {}, "status": 200},
        {"error": {"code": "x", "message": "a secret of the operator"}},
    ],
)
async def test_what_it_gets_wrong_is_a_failure_without_its_words(platform: Platform, value: object) -> None:
    worker, body = platform.deploy("guard", returning(value)), Body(b"x")
    failure = await platform.failure(worker, OutgoingRequest("POST", URL, (), body))
    assert failure.code is OperationErrorCode.WORKER_FAILED
    assert failure.message == "the platform's outbound worker failed, so nothing was sent past it"
    assert (platform.gateway.sent, body.closed) == ([], True)


async def test_only_an_outbound_worker_may_let_a_request_go_on(platform: Platform) -> None:
    worker = platform.guests.worker(returning({"continue": {}}))
    ending = await worker.fetch(request(), Remembered(), context(), {})
    assert ending.outcome is EventOutcome.EXCEPTION
    assert "only an outbound worker may return it" in ending.message


async def test_a_body_that_it_read_can_t_go_on(platform: Platform) -> None:
    reads = call([1, "stream.read", None, 1, 4])
    worker = platform.deploy("guard", caller(reads, returns={"continue": {}}))
    body = Body(b"0123456789")
    failure = await platform.failure(worker, OutgoingRequest("POST", URL, (), body))
    assert failure.code is OperationErrorCode.WORKER_FAILED
    assert (platform.gateway.sent, body.closed) == ([], True)


async def test_its_own_fetch_is_its_asker_s_and_asks_nobody(platform: Platform) -> None:
    worker = platform.deploy("guard", caller(call([1, "fetch", None, {"url": "http://own.example/"}])))
    assert (await platform.fetch(worker)).status == 200
    ((sent, whose, _),) = platform.gateway.sent
    assert (sent.url, whose.script, whose.tenant) == ("http://own.example/", "asker", "acme")
    assert whose.outbound_step == OutboundStep("guard", "fetch")


async def test_a_user_worker_that_it_calls_has_no_way_out_meanwhile(platform: Platform) -> None:
    worker, body = platform.deploy("guard", returning({"continue": {}})), Body(b"x")
    failure = await platform.failure(
        worker, OutgoingRequest("POST", URL, (), body), asker=context("another", "prod")
    )
    assert failure.code is OperationErrorCode.DENIED
    assert (platform.gateway.sent, body.closed) == ([], True)


async def test_without_a_free_slot_it_fails_at_once(platform: Platform) -> None:
    narrow = Platform(AdmissionLimits(running=1, suspended=1, slots=1, reserve=0))
    try:
        worker = narrow.deploy("guard", returning({"continue": {}}))
        failure = await narrow.failure(worker)
        assert failure.code is OperationErrorCode.LOAD_SHED
        assert narrow.gateway.sent == []
    finally:
        narrow.guests.close()


async def test_it_counts_in_the_depth_of_its_tree(platform: Platform) -> None:
    worker = platform.deploy("guard", returning({"continue": {}}))
    assert (await platform.fetch(worker, depth=MAX_DEPTH - 1)).status == 200
    assert (await platform.failure(worker, depth=MAX_DEPTH)).code is OperationErrorCode.LIMIT_EXCEEDED


async def test_a_url_that_the_gateway_refuses_is_nobody_s_to_read(platform: Platform) -> None:
    worker = platform.deploy("guard", returning({"status": 200, "body": "answered"}))
    await platform.fetch(worker, OutgoingRequest("GET", "http://a\t.example/"))
    assert platform.guests.observer.records == []
    ((sent, whose, _),) = platform.gateway.sent
    assert (sent.url, whose.outbound_step) == ("http://a\t.example/", None)


async def test_an_asker_that_leaves_ends_it(platform: Platform) -> None:
    worker = platform.deploy("guard", caller(call([1, "sleep", None, 60_000])))
    body = Body(b"x")
    asking = asyncio.create_task(platform.fetch(worker, OutgoingRequest("POST", URL, (), body)))
    async with asyncio.timeout(60):
        while not live_guests():  # noqa: ASYNC110 - nothing tells when a guest is there
            await asyncio.sleep(0.001)
    asking.cancel()
    await asyncio.wait([asking])
    assert [record.outcome for record in platform.guests.observer.records] == [EventOutcome.CANCELED]
    assert body.closed


@pytest.mark.parametrize(
    ("path", "why"), [("slow", "not done within 0.3 s"), ("smuggle", "its value has a control byte")]
)
async def test_a_hook_that_is_late_or_wrong_fails_closed(
    platform: Platform, caplog: pytest.LogCaptureFixture, path: str, why: str
) -> None:
    failure = await platform.failure(OutboundWorker(None, "watch"), OutgoingRequest("GET", URL + path))
    assert failure.code is OperationErrorCode.WORKER_FAILED
    assert platform.gateway.sent == []
    assert "outbound worker hook watch: " in caplog.text
    assert why in caplog.text
