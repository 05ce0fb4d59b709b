"""Rule: what another process says is believed in nothing but what it may decide: a group's process, in whosever
hands, calls only what a worker of that group has a binding to, and what is no message of ours starts nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from dispatch.admission import Admission
from dispatch.group_calls import GroupCalls, is_bound
from dispatch.group_outbound import stands
from dispatch.handover import (
    INLINE_BYTES,
    AnswerHead,
    Entered,
    NoMessage,
    Outbound,
    Question,
    Result,
    body_follows,
    encode,
    parse_head,
    parse_question,
    parse_result,
    question_of,
    result_of_error,
)
from dispatch.outbound_in_force import InForce
from dispatch.route_index import RouteIndex
from dispatch.runner import TreeRunner
from dispatch.workers import Workers
from model.capabilities import EventContext
from model.errors import LoadShed, VisitorError
from model.identity import AccountId, NamespaceName, RayId, ScriptName, TenantId, VersionId
from model.isolation import DEFAULT_GROUP, parse_groups
from model.messages import BytesSource, Client, Entry, IncomingRequest, OutgoingRequest, Response
from model.outcome import EventOutcome
from model.scripts import (
    BindingKind,
    BindingSpec,
    HostnameRoutes,
    OutboundWorker,
    ScriptRef,
    ScriptVersion,
)

GROUPS = parse_groups("free:namespace=trial,vip:namespace=acme")


def ref(name: str) -> ScriptRef:
    namespace, _, script = name.rpartition("/")
    return ScriptRef(NamespaceName(namespace) if namespace else None, ScriptName(script))


def version(name: str, *bindings: tuple[BindingKind, str], account: str = "default") -> ScriptVersion:
    specs = tuple(BindingSpec(kind, f"B{number}", target) for number, (kind, target) in enumerate(bindings))
    return ScriptVersion(
        AccountId(account),
        ref(name),
        TenantId("t"),
        VersionId("1"),
        "0" * 64,
        frozenset({"fetch"}),
        specs,
    )


SERVICE, DISPATCH = BindingKind.SERVICE, BindingKind.DISPATCH_NAMESPACE


@pytest.mark.parametrize(
    ("caller", "bindings", "target", "bound"),
    [
        ("trial/a", [(SERVICE, "b")], "trial/b", True),
        ("trial/a", [(SERVICE, "b")], "b", True),  # a plain one
        ("trial/a", [(SERVICE, "b")], "acme/b", False),  # of that name, in another namespace
        ("trial/a", [(SERVICE, "b")], "trial/c", False),
        ("a", [(SERVICE, "b")], "b", True),
        ("a", [(SERVICE, "b")], "trial/b", False),
        ("trial/a", [(DISPATCH, "acme")], "acme/whatever", True),
        ("trial/a", [(DISPATCH, "acme")], "trial/b", False),
        ("trial/a", [(DISPATCH, "acme")], "b", False),
        ("trial/a", [(BindingKind.KV_NAMESPACE, "b"), (BindingKind.PLAIN_TEXT, "acme")], "trial/b", False),
        ("trial/a", [], "trial/b", False),
    ],
)
def test_a_worker_may_call_what_a_binding_of_it_leads_to(
    caller: str, bindings: Sequence[tuple[BindingKind, str]], target: str, bound: bool
) -> None:
    assert is_bound(version(caller, *bindings), version(target)) is bound
    assert not is_bound(version(caller, *bindings), version(target, account="another"))


@pytest.mark.parametrize(
    ("bound_to", "asked", "bound"),
    [
        ((None, None), None, True),
        ((None, None), Entry(call="add"), True),  # a method of the default one
        (("Admin", None), Entry("Admin"), True),
        (("Admin", None), Entry("Admin", call="add"), True),
        (("Admin", None), None, False),  # not its `fetch` handler
        (("Admin", None), Entry("Other"), False),
        (("Admin", '{"of":"a"}'), Entry("Admin", '{"of":"a"}'), True),
        (("Admin", '{"of":"a"}'), Entry("Admin", '{"of":"b"}'), False),  # no props of its own making
        (("Admin", '{"of":"a"}'), Entry("Admin"), False),
        ((None, None), Entry("Admin"), False),
    ],
)
def test_a_worker_may_call_the_entry_point_that_its_binding_names_and_no_other(
    bound_to: tuple[str | None, str | None], asked: Entry | None, bound: bool
) -> None:
    caller = version("trial/a")
    binding = BindingSpec(SERVICE, "B", "b", None, None, *bound_to)
    assert is_bound(replace(caller, bindings=(binding,)), version("trial/b"), asked) is bound
    dispatcher = replace(caller, bindings=(BindingSpec(DISPATCH, "D", "trial"),))
    assert is_bound(dispatcher, version("trial/b"), asked) is (asked is None)


class Store:
    """A RouteStore of a few scripts."""

    def __init__(self, *versions: ScriptVersion) -> None:
        self._scripts = {each.ref: each for each in versions}

    def hostname_routes(self, pattern: str) -> HostnameRoutes | None:
        return None

    def script(self, ref: ScriptRef) -> ScriptVersion | None:
        return self._scripts.get(ref)

    def sequence(self) -> int:
        return 1

    def changes_since(self, sequence: int) -> tuple[int, Sequence[tuple[str, str]] | None]:
        return 1, []


class Exchange:
    """The answering end, with nobody at the other."""

    def __init__(self) -> None:
        self.cancelled = False
        self.on_cancel: Callable[[], None] | None = None
        self.finished: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def send_head(self, payload: bytes) -> None:
        raise AssertionError("nothing was to be answered")

    async def write(self, data: bytes) -> None:
        raise AssertionError("nothing was to be answered")

    def end(self) -> None:
        raise AssertionError("nothing was to be answered")

    def finish(self, payload: bytes) -> None:
        self.finished.set_result(payload)

    async def read(self) -> bytes:
        return b""

    def close(self) -> None: ...


def calls_of(group: str, *versions: ScriptVersion) -> tuple[GroupCalls, list[ScriptRef]]:
    """A process of `group`, and which workers it would have made: to make one is to be about to run it."""
    index = RouteIndex(Store(*versions))
    made: list[ScriptRef] = []

    def make(of: ScriptVersion) -> Any:
        made.append(of.ref)
        raise LoadShed("far enough")

    workers = Workers(index, make)
    calls = GroupCalls(
        GROUPS, group, index, workers, TreeRunner(), Admission(), asked_nobody, standing_before
    )
    return calls, made


GUARD, WATCH = OutboundWorker(ref("guard")), OutboundWorker(None, "watch")


async def asked_nobody(worker: OutboundWorker, request: OutgoingRequest, asker: EventContext) -> Response:
    raise LoadShed(f"{worker.script or worker.hook} was asked by {asker.namespace}/{asker.script}")


def standing_before(namespace: NamespaceName | None) -> frozenset[OutboundWorker]:
    """Of `trial` two, of `acme` one."""
    before = {"trial": {GUARD, WATCH}, "acme": {OutboundWorker(ref("acmes"))}}
    return frozenset(each for name, all_of in before.items() if namespace in (None, name) for each in all_of)


def question(target: str, caller: str | None = None, **changed: Any) -> bytes:
    context = EventContext(
        AccountId("default"), None, ScriptName("x"), VersionId("1"), TenantId("t"), (), RayId("0" * 16), 0,
        permit=None,  # type: ignore[arg-type]  # nothing runs
    )  # fmt: skip
    client = Client("192.0.2.1", False, "0" * 16)
    request = IncomingRequest("GET", "http://a.example/", "a.example", "/", [], None, None, client)
    said = parse_question(question_of(ref(target), request, context, {}, None))
    if caller is not None:
        of = ref(caller)
        said.caller_namespace, said.caller_script, said.depth = of.namespace, of.script, 1
    for name, value in changed.items():
        setattr(said, name, value)
    return encode(said)


def test_what_a_call_was_narrowed_to_travels_with_it() -> None:
    assert parse_question(question("b")).egress_hosts is None
    assert parse_question(question("b", egress=[])).egress_hosts == ()
    assert parse_question(question("b", egress=["*.a.test"])).egress_hosts == ("*.a.test",)
    client = Client("192.0.2.1", False, "0" * 16)
    request = IncomingRequest("GET", "http://a.example/", "a.example", "/", [], None, None, client)
    context = EventContext(
        AccountId("default"), None, ScriptName("x"), VersionId("1"), TenantId("t"), (), RayId("0" * 16), 0,
        permit=None,  # type: ignore[arg-type]  # nothing runs
        egress_hosts=("a.test",),
    )  # fmt: skip
    assert parse_question(question_of(ref("b"), request, context, {}, None)).egress_hosts == ("a.test",)


async def answered(calls: GroupCalls, payload: bytes, from_group: str | None) -> Result:
    exchange = Exchange()
    calls.answer(exchange, payload, from_group=from_group)
    async with asyncio.timeout(60):
        result = parse_result(await exchange.finished)
        while calls.running:  # noqa: ASYNC110 - the task ends in this turn or the next
            await asyncio.sleep(0)
    return result


CALLER = version("trial/a", (SERVICE, "b"), (DISPATCH, "acme"))
OTHERS = (version("trial/b"), version("b"), version("acme/x"), version("other/y"), version("vault"))


@pytest.mark.parametrize("target", ["b", "acme/x"])
async def test_the_door_runs_what_a_group_s_worker_is_bound_to(target: str) -> None:
    calls, made = calls_of(DEFAULT_GROUP, CALLER, *OTHERS)
    assert (await answered(calls, question(target, "trial/a"), "free")).message == "far enough"
    assert made == [ref(target)]


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (lambda: question("vault", "trial/a"), "no binding leads there"),
        (lambda: question("other/y", "trial/a"), "nor to that namespace"),
        (lambda: question("b", "other/y"), "it pretends to be a worker of another group"),
        (lambda: question("b", "trial/nobody"), "or one that is not there"),
        (lambda: question("b"), "or a visitor"),
        (lambda: question("b", "trial/a", depth=0), "a call is never a tree's first"),
        (lambda: question("nowhere", "trial/a"), "what is not there looks the same"),
        (lambda: asking("vault"), "it does not stand before its namespace"),
        (lambda: asking("acmes"), "it stands before another's"),
        (lambda: asking("other", hook=True), "nor that hook"),
        (lambda: asking("guard", asker=None), "it asks for nobody"),
        (lambda: asking("guard", asker="acme/x"), "it asks for somebody else"),
        (lambda: asking("guard", asks=False), "it is no binding, to be called"),
        (
            lambda: question("b", "trial/a", asker_namespace="acme", asker_script="x"),
            "for whom nobody asked it",
        ),
        (
            lambda: question("b", "trial/a", outbound=Outbound.of(OutboundWorker(ref("vault")))),
            "it is nobody's",
        ),
    ],
)
async def test_a_group_s_process_in_strange_hands_can_call_nothing_else(
    payload: Callable[[], bytes], why: str
) -> None:
    calls, made = calls_of(DEFAULT_GROUP, CALLER, *OTHERS)
    result = await answered(calls, payload(), "free")
    assert (result.refused, result.outcome) == (True, EventOutcome.SCRIPT_NOT_FOUND), why
    assert made == []


def asking(worker: str, asker: str | None = "trial/a", **changed: Any) -> bytes:
    """`trial/a` asks its outbound worker."""
    of = None if asker is None else ref(asker)
    said = {
        "asks": True,
        "asker_namespace": None if of is None else of.namespace,
        "asker_script": None if of is None else of.script,
    }
    return question(worker, "trial/a", **{**said, **changed})


@pytest.mark.parametrize(("worker", "hook"), [("guard", False), ("watch", True)])
async def test_a_group_s_worker_may_ask_what_stands_before_its_namespace(worker: str, hook: bool) -> None:
    calls, made = calls_of(DEFAULT_GROUP, CALLER, version("guard"), *OTHERS)
    payload = asking(worker, hook=hook, outbound=Outbound.of(WATCH if hook else GUARD))
    result = await answered(calls, payload, "free")
    assert result.message == f"{worker} was asked by trial/a"
    assert made == []


async def test_what_a_group_s_worker_calls_has_its_namespace_s_outbound_worker_whatever_is_said() -> None:
    guarded = replace(version("trial/b"), outbound_worker=GUARD)
    silent = parse_question(question("trial/b", "trial/a"))
    assert stands(silent, guarded, None, trusted=False) == InForce(GUARD, None)
    assert stands(silent, guarded, None, trusted=True) == InForce(None, None)  # the door says all of it


async def test_a_group_s_process_runs_no_worker_of_another() -> None:
    calls, made = calls_of("free", CALLER, *OTHERS)
    result = await answered(calls, question("acme/x"), None)
    assert (result.refused, result.outcome) == (True, EventOutcome.LOAD_SHED)
    assert "moved to other processes" in result.message
    assert made == []
    assert (await answered(calls, question("trial/b"), None)).message == "far enough"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        encode([]),
        encode({"script": "b"}),
        msgspec.msgpack.encode(["trial", "b"]),
        question("b", "trial/a")[:-3],
        encode(["x" * 64, *msgspec.msgpack.decode(question("b"))[1:]]),
    ],
)
async def test_what_is_no_question_starts_nothing(payload: bytes) -> None:
    calls, made = calls_of(DEFAULT_GROUP, CALLER, *OTHERS)
    result = await answered(calls, payload, "free")
    assert (result.refused, result.outcome) == (True, EventOutcome.INTERNAL_ERROR)
    assert made == []


@pytest.mark.parametrize(
    "changed",
    [
        {"depth": 17},
        {"depth": -1},
        {"ray_id": "0" * 15},
        {"ray_id": '"} forged line'},
        {"hops": -1},
        {"client_ip": "1" * 65},
        {"headers": [(b"a", b"b")] * 1_025},
        {"content_length": -1},
        {"limits": {"cpu_ms": -1}},
        {"params": {str(number): "" for number in range(129)}},
    ],
)
def test_a_question_s_fields_are_bounded(changed: dict[str, Any]) -> None:
    with pytest.raises(NoMessage):
        parse_question(question("b", **changed))


@pytest.mark.parametrize(
    "payload",
    [
        encode(AnswerHead(200, []))[:-1],
        encode([101, []]),
        encode([199, []]),
        encode([600, []]),
        encode([200, [[1, 2]]]),
    ],
)
def test_the_beginning_of_an_answer_is_checked(payload: bytes) -> None:
    with pytest.raises(NoMessage):
        parse_head(payload)


@pytest.mark.parametrize(
    "payload", [b"", encode(["fine", ""]), encode(["ok", "", True, 200]), encode([1, ""])]
)
def test_a_result_is_checked(payload: bytes) -> None:
    with pytest.raises(NoMessage):
        parse_result(payload)


def test_a_refusal_comes_back_as_the_error_that_it_was() -> None:
    error = parse_result(result_of_error(LoadShed("busy", retry_after_s=7))).error()
    assert (type(error), error.message, error.retry_after_s, error.status) == (LoadShed, "busy", 7, 503)
    gone = parse_result(result_of_error(VisitorError("there is no worker here", detail="never sent"))).error()
    assert (gone.status, gone.code, gone.detail) == (404, 1104, "")


def test_a_question_says_what_the_request_said() -> None:
    said: Question = parse_question(question("trial/b", "trial/a"))
    assert (said.ref, said.caller) == (ref("trial/b"), ref("trial/a"))
    request = said.request(b"body")
    assert (request.method, request.url, request.hostname, request.path) == (
        "GET",
        "http://a.example/",
        "a.example",
        "/",
    )
    assert request.client.ip == "192.0.2.1"


def test_a_question_says_which_entry_point_is_called() -> None:
    entry = Entry("Admin", '{"of":"a"}', "add")
    said = parse_question(question("trial/b", "trial/a", entered=Entered.of(entry), http_protocol="HTTP/1.1"))
    request = said.request(None)
    assert (request.entry, request.client.protocol) == (entry, "HTTP/1.1")
    assert parse_question(question("trial/b", "trial/a")).request(None).entry is None


def test_a_large_body_follows_and_a_small_one_comes_along() -> None:
    assert not body_follows(b"x" * INLINE_BYTES)
    assert body_follows(b"x" * (INLINE_BYTES + 1))
    assert body_follows(BytesSource(b"x"))
