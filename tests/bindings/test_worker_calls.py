"""fetch, service.fetch and dispatch.fetch: where a request goes, what the other side is told, and that
nothing of another account's is reachable by a name.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bindings.dispatch_namespace import StoredDispatcher, parse_call_options
from bindings.memory import MemoryEvent, MemoryFetcher, MemoryRunner
from bindings.operations import OPERATIONS
from bindings.service import NamedService
from model.capabilities import CallOptions, WorkerEnv
from model.errors import OperationError, OperationErrorCode
from model.identity import (
    DEFAULT_ACCOUNT,
    AccountId,
    NamespaceName,
    ScriptName,
    TenantId,
    VersionId,
)
from model.messages import OutgoingRequest, Response
from model.scripts import ScriptRef, ScriptVersion

CUSTOMERS = NamespaceName("customers")
INNER = ScriptRef(CUSTOMERS, ScriptName("shop"))
PLAIN = ScriptRef(None, ScriptName("shop"))
REQUEST = {"url": "https://shop.example/"}


def version(ref: ScriptRef) -> ScriptVersion:
    return ScriptVersion(
        account=DEFAULT_ACCOUNT,
        ref=ref,
        tenant=TenantId("t"),
        version=VersionId("1"),
        module_digest="",
        handlers=frozenset({"fetch"}),
    )


class World:
    """The deployed scripts, each answering with its own name."""

    def __init__(self) -> None:
        self.versions: dict[ScriptRef, ScriptVersion] = {}
        self.runner = MemoryRunner()

    def deploy(self, ref: ScriptRef, account: str = DEFAULT_ACCOUNT) -> None:
        self.versions[ref] = replace(version(ref), account=AccountId(account))
        self.runner.workers[ref] = lambda request: Response(200, (), str(ref).encode())

    def service(self, namespace: NamespaceName | None) -> NamedService:
        return NamedService(self.runner, self.versions.get, DEFAULT_ACCOUNT, namespace, ScriptName("shop"))

    def dispatcher(self) -> StoredDispatcher:
        return StoredDispatcher(self.runner, self.versions.get, DEFAULT_ACCOUNT, CUSTOMERS)


@pytest.fixture
def world() -> World:
    return World()


async def call(name: str, lent: object, *args: object, env: WorkerEnv | None = None) -> Any:
    result: Any = OPERATIONS[name].run(MemoryEvent(env), lent, args)
    return await result


async def test_service_is_looked_up_in_the_same_namespace_first(world: World) -> None:
    world.deploy(PLAIN)
    service = world.service(CUSTOMERS)
    assert (await call("service.fetch", service, REQUEST))["body"] == b"shop"
    world.deploy(INNER)  # seen by the next call
    assert (await call("service.fetch", service, REQUEST))["body"] == b"customers/shop"


async def test_plain_worker_does_not_reach_into_a_namespace_by_service(world: World) -> None:
    world.deploy(INNER)
    with pytest.raises(OperationError, match=r"^Worker not found: shop$") as caught:
        await call("service.fetch", world.service(None), REQUEST)
    assert caught.value.code is OperationErrorCode.WORKER_NOT_FOUND


async def test_another_accounts_worker_does_not_exist(world: World) -> None:
    world.deploy(INNER, account="other")
    for name, lent, args in (
        ("service.fetch", world.service(CUSTOMERS), [REQUEST]),
        ("dispatch.fetch", world.dispatcher(), ["shop", REQUEST]),
    ):
        with pytest.raises(OperationError, match=r"^Worker not found"):
            await call(name, lent, *args)
    assert world.runner.calls == []


async def test_dispatcher_reaches_its_namespace_and_nothing_else(world: World) -> None:
    world.deploy(INNER)
    world.deploy(ScriptRef(None, ScriptName("plain")))
    assert (await call("dispatch.fetch", world.dispatcher(), "shop", REQUEST))["body"] == b"customers/shop"
    with pytest.raises(OperationError, match=r"^Worker not found: plain$") as caught:
        await call("dispatch.fetch", world.dispatcher(), "plain", REQUEST)
    assert caught.value.code is OperationErrorCode.WORKER_NOT_FOUND


@pytest.mark.parametrize("script", ["", "../shop", "customers/shop", "Shop", "s" * 64, "s" * 300, b"shop", 7])
async def test_name_that_no_script_can_have_is_an_argument_error(world: World, script: object) -> None:
    with pytest.raises(OperationError) as caught:
        await call("dispatch.fetch", world.dispatcher(), script, REQUEST)
    assert caught.value.code is OperationErrorCode.INVALID_ARGUMENT


async def test_options_reach_the_runner(world: World) -> None:
    world.deploy(INNER)
    options = {
        "params": {"plan": "gold"},
        "limits": {"cpu_ms": 5, "subrequests": 0},
        "outbound": {"tenant": "acme"},
    }
    await call(
        "dispatch.fetch", world.dispatcher(), "shop", {**REQUEST, "method": "PUT", "body": b"x"}, options
    )
    assert world.runner.calls == [
        (
            INNER,
            OutgoingRequest("PUT", "https://shop.example/", (), b"x"),
            CallOptions({"cpu_ms": 5, "subrequests": 0}, {"plan": "gold"}, {"tenant": "acme"}),
        )
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (7, "a map is right"),
        ({"param": {}}, "unknown"),
        ({"limits": {"wall_ms": 5}}, "unknown"),
        ({"limits": {"cpu_ms": 0}}, "limits.cpu_ms"),
        ({"limits": {"cpu_ms": 300_001}}, "limits.cpu_ms"),
        ({"limits": {"subrequests": -1}}, "limits.subrequests"),
        ({"limits": {"subrequests": "5"}}, "limits.subrequests"),
        ({"limits": [5]}, "a map is right"),
        ({"params": ["a"]}, "params"),
        ({"params": {"a": 1}}, "params.a"),
        ({"params": {1: "a"}}, "params"),
        ({"outbound": {"a": b"x"}}, "outbound.a"),
        ({"params": {f"k{n}": "" for n in range(65)}}, "at most 64"),
        ({"params": {"a": "x" * 16_384}}, "16384"),
        ({"params": {"a": "\ud800"}}, "surrogate"),
        ({"egress": ["a.test"]}, "a map is right"),
        ({"egress": {"deny": []}}, "unknown"),
        ({"egress": {}}, "egress.allow: .*a list of hosts"),
        ({"egress": {"allow": "a.test"}}, "egress.allow: .*a list of hosts"),
        ({"egress": {"allow": [1]}}, "egress.allow: a host"),
        ({"egress": {"allow": ["*"]}}, "narrows nothing"),
        ({"egress": {"allow": ["*.com"]}}, "public suffix"),
        ({"egress": {"allow": ["https://a.test"]}}, "egress.allow"),
        ({"egress": {"allow": ["a.test"] * 65}}, "at most 64"),
    ],
)
def test_wrong_option_is_refused_by_name(options: object, message: str) -> None:
    with pytest.raises(OperationError, match=message) as caught:
        parse_call_options(options)
    assert caught.value.code is OperationErrorCode.INVALID_ARGUMENT


def test_options_at_their_edges() -> None:
    assert parse_call_options(None) == parse_call_options({}) == CallOptions()
    assert parse_call_options({"egress": None}) == CallOptions()
    assert parse_call_options({"egress": {"allow": []}}).egress_hosts == ()
    hosts = ["API.example.com", "*.example.org", "a.example.org"]
    assert parse_call_options({"egress": {"allow": hosts}}).egress_hosts == (
        "*.example.org",
        "api.example.com",
    )
    assert parse_call_options({"limits": {"cpu_ms": 300_000}}).limits == {"cpu_ms": 300_000}
    assert len(parse_call_options({"params": {f"k{n}": "" for n in range(64)}}).params) == 64
    assert parse_call_options({"params": {"a": "x" * 16_383}}).params["a"] == "x" * 16_383


async def test_fetch_goes_through_the_fetcher_that_was_lent() -> None:
    gateway = MemoryFetcher(lambda request: Response(201, ((b"x-a", b"b"),), b"hello"))
    env = WorkerEnv(fetcher=gateway)
    assert await call("fetch", None, {**REQUEST, "headers": [["X-Q", "1"]]}, env=env) == {
        "status": 201,
        "headers": [["x-a", "b"]],
        "body": b"hello",
    }
    ((request, context),) = gateway.requests
    assert request == OutgoingRequest("GET", "https://shop.example/", ((b"x-q", b"1"),), None)
    assert context.tenant == "tenant"


async def test_worker_without_a_fetcher_has_no_way_out() -> None:
    with pytest.raises(OperationError) as caught:
        await call("fetch", None, REQUEST)
    assert caught.value.code is OperationErrorCode.DENIED


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("fetch", []),
        ("fetch", [REQUEST, {}]),
        ("service.fetch", []),
        ("dispatch.fetch", ["shop"]),
        ("dispatch.fetch", ["shop", REQUEST, {}, {}]),
        ("dispatch.fetch", ["shop", "https://shop.example/"]),
    ],
)
async def test_wrong_number_or_kind_of_arguments(world: World, name: str, args: list[object]) -> None:
    with pytest.raises(OperationError) as caught:
        await call(name, world.dispatcher(), *args)
    assert caught.value.code is OperationErrorCode.INVALID_ARGUMENT
