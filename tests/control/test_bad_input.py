"""Whatever is wrong with a request, the answer names the field, says what was wrong and what would be right, and
nothing that is kept has changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest

from tests.control.support import (
    ACCOUNT,
    KV,
    NAMESPACES,
    QUEUES,
    ROUTES,
    Host,
    ok,
    refused,
    script_path,
    upload,
    worker_module,
)

SHOP = script_path("shop", "prod")
COMPONENT = b"\0asm\x0d\0\1\0"


@dataclass
class World:
    """What is there before each bad request."""

    kv: str
    acme_kv: str
    queue: str
    consumer: str
    route: str


@pytest.fixture
async def world(host: Host) -> World:
    await host.namespace()
    ok(await host.deploy("shop", "prod", tenant="shop", module=worker_module("fetch", "queue")))
    ok(await host.deploy("theirs", "prod", tenant="acme"))
    kv = ok(await host.api.post(KV, json={"title": "mine"}))["id"]
    acme_kv = ok(await host.api.post(KV, json={"title": "acme", "tenant": "acme", "namespace": "prod"}))["id"]
    queue = ok(await host.api.post(QUEUES, json={"queue_name": "jobs"}))["queue_id"]
    ok(await host.api.post(QUEUES, json={"queue_name": "acme-jobs", "tenant": "acme", "namespace": "prod"}))
    consumer = ok(
        await host.api.post(
            f"{QUEUES}/{queue}/consumers", json={"script_name": "shop", "dispatch_namespace": "prod"}
        )
    )["consumer_id"]
    target = {"namespace": "prod", "script": "shop"}
    route = ok(await host.api.post(ROUTES, json={"hostname": "shop.example.com", "target": target}))["id"]
    return World(kv, acme_kv, queue, consumer, route)


async def refuse(
    host: Host, response: httpx2.Response, state: object, status: int, code: int, where: str | None
) -> str:
    message = refused(response, status, code, where)
    assert host.state() == state
    return message


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (b"hello", "wasm"),
        (b"", "wasm"),
        (worker_module()[:-3], "main_module"),  # truncated
        (b"(module (func))", "text"),
        (COMPONENT, "component"),
        (worker_module().replace(b"\x05fetch", b"\x05fotch"), "fetch"),
        (worker_module().replace(b"\x05fetch", b"\x05_stop"), "fetch"),
        (worker_module().replace(b"\x05alloc", b"\x05elloc"), "alloc"),
    ],
)
async def test_bytes_that_are_no_worker(host: Host, world: World, module: bytes, says: str) -> None:
    state = host.state()
    response = await host.api.put(SHOP, files=upload(module))
    message = await refuse(host, response, state, 400, 10021, "main_module")
    assert says in message
    assert response.json()["errors"][0]["meta"]["problem"]


METADATA: list[tuple[str, object, int, int, str]] = [
    ("an unknown binding type", {"bindings": [{"type": "r2", "name": "B"}]}, 400, 10021, "bindings[0].type"),
    ("a date that is none", {"compatibility_date": "tomorrow"}, 400, 10021, "compatibility_date"),
    ("a date in another spelling", {"compatibility_date": "20260101"}, 400, 10021, "compatibility_date"),
    ("a day that is none", {"compatibility_date": "2026-02-30"}, 400, 10021, "compatibility_date"),
    ("too many flags", {"compatibility_flags": [f"flag{n}" for n in range(65)]}, 400, 10021, "compatibility_flags"),
    ("a flag too long", {"compatibility_flags": ["é" * 65]}, 400, 10021, "compatibility_flags"),
    ("a binding without a type", {"bindings": [{"name": "B"}]}, 400, 10021, "bindings[0].type"),
    ("a type that is a list", {"bindings": [{"name": "B", "type": []}]}, 400, 10021, "bindings[0].type"),
    ("a binding without a name", {"bindings": [{"type": "json"}]}, 400, 10052, "bindings[0].name"),
    ("a name that is none", {"bindings": [{"type": "json", "name": "a-b"}]}, 400, 10016, "bindings[0].name"),
    ("text that is a number", {"bindings": [{"type": "plain_text", "name": "A", "text": 1}]}, 400, 10021,
     "bindings[0].text"),
    ("text too large", {"bindings": [{"type": "plain_text", "name": "A", "text": "x" * 5121}]}, 400, 10054,
     "bindings[0].text"),
    ("a secret without text", {"bindings": [{"type": "secret_text", "name": "A"}]}, 400, 10021,
     "bindings[0].text"),
    ("two of a name", {"bindings": [{"type": "json", "name": "A", "json": 1}] * 2}, 400, 10021, "bindings[1]"),
    ("too many bindings", {"bindings": [{}] * 129}, 400, 10055, "bindings"),
    ("no such KV namespace", {"bindings": [{"type": "kv_namespace", "name": "K", "namespace_id": "00"}]}, 400,
     10021, "bindings[0].namespace_id"),
    ("no such queue", {"bindings": [{"type": "queue", "name": "Q", "queue_name": "none"}]}, 400, 10021,
     "bindings[0].queue_name"),
    ("no such service", {"bindings": [{"type": "service", "name": "S", "service": "none"}]}, 400, 10021,
     "bindings[0].service"),
    ("a tenant that dispatches", {"bindings": [{"type": "dispatch_namespace", "name": "D", "namespace": "prod"}]},
     400, 10021, "bindings[0].type"),
    ("an outbound worker that is text", {"bindings": [{"type": "dispatch_namespace", "name": "D",
     "namespace": "prod", "outbound": "guard"}]}, 400, 10021, "bindings[0].outbound"),
    ("an outbound worker of none", {"bindings": [{"type": "dispatch_namespace", "name": "D", "namespace": "prod",
     "outbound": {"worker": {}}}]}, 400, 10021, "bindings[0].outbound"),
    ("outbound params that the platform gives", {"bindings": [{"type": "dispatch_namespace", "name": "D",
     "namespace": "prod", "outbound": {"worker": {"service": "g"}, "params": [{"name": "tenantry.tenant"}]}}]},
     400, 10021, "bindings[0].outbound.params[0]"),
    ("a queue's delay", {"bindings": [{"type": "queue", "name": "Q", "queue_name": "jobs", "delivery_delay": 43_201}]},
     400, 10021, "bindings[0].delivery_delay"),
    ("another tenant's queue", {"bindings": [{"type": "queue", "name": "Q", "queue_name": "acme-jobs"}]}, 403,
     10021, "bindings[0]"),
    ("another tenant's script", {"bindings": [{"type": "service", "name": "S", "service": "theirs"}]}, 403, 10021,
     "bindings[0]"),
    ("nothing to inherit", {"bindings": [{"type": "inherit", "name": "X"}]}, 400, 10057, "bindings[0]"),
    ("an unknown limit", {"limits": {"cpu": 5}}, 400, 10021, "limits"),
    ("a limit below", {"limits": {"cpu_ms": 0}}, 400, 10021, "limits.cpu_ms"),
    ("a limit above", {"limits": {"memory_mb": 129}}, 400, 10021, "limits.memory_mb"),
    ("a limit that is true", {"limits": {"cpu_ms": True}}, 400, 10021, "limits.cpu_ms"),
    ("too many tags", {"tags": [str(n) for n in range(9)]}, 400, 10021, "tags"),
    ("a tag with a comma", {"tags": ["a,b"]}, 400, 10016, "tags[0]"),
    ("a tenant that is none", {"tenant": "a b"}, 400, 10016, "tenant"),
    ("bindings that are a string", {"bindings": "x"}, 400, 10026, "metadata.bindings"),
    ("a tag that is a number", {"tags": [1]}, 400, 10026, "metadata.tags[0]"),
    ("metadata that is a list", [], 400, 10026, "metadata"),
    ("a main module that isn't there", {"main_module": "none.wasm"}, 400, 10021, "main_module"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("what", "metadata", "status", "code", "where"), METADATA, ids=[m[0] for m in METADATA]
)
async def test_metadata(
    host: Host, world: World, what: str, metadata: object, status: int, code: int, where: str
) -> None:
    state = host.state()
    files = upload(worker_module()) | {"metadata": (None, json.dumps(metadata), "application/json")}
    await refuse(host, await host.api.put(SHOP, files=files), state, status, code, where)
    assert host.publisher.prepared[2:] == []  # those of the world alone: nothing was compiled in vain


@pytest.mark.parametrize(
    "metadata", [b"", b"{", b"not json", b"\xff\xfe", b"[" * 100_000, b'{"tenant": "\\ud800"}']
)
async def test_metadata_that_is_no_json(host: Host, world: World, metadata: bytes) -> None:
    state = host.state()
    files = upload(worker_module()) | {"metadata": (None, metadata)}
    await refuse(host, await host.api.put(SHOP, files=files), state, 400, 10026, "metadata")


async def test_a_tenants_resource_is_lent_to_another_only_on_purpose(host: Host, world: World) -> None:
    state = host.state()
    binding: dict[str, Any] = {"type": "kv_namespace", "name": "K", "namespace_id": world.acme_kv}
    response = await host.deploy("shop", "prod", bindings=[binding])
    message = await refuse(host, response, state, 403, 10021, "bindings[0]")
    assert "'acme'" in message
    assert '"shared": true' in message
    ok(await host.deploy("theirs", "prod", bindings=[binding]))
    shared = [{**binding, "shared": True}]
    ok(await host.deploy("other", "prod", bindings=shared))
    ok(await host.deploy("other", "prod", keep_bindings=["kv_namespace"]))  # what was lent stays lent
    # A plain script is the account's, not acme's.
    refused(await host.deploy("plain", bindings=[binding]), 403, 10021, "bindings[0]")
    # And a script can't take what was its tenant's to another tenant.
    refused(await host.deploy("theirs", "prod", tenant="eve", keep_bindings=["kv_namespace"]), 403, 10021)


async def test_a_name_does_not_catch_another_tenants_service_binding(host: Host, world: World) -> None:
    ok(await host.deploy("auth"))  # plain: the account's
    ok(await host.deploy("shop", "prod", module=worker_module("fetch", "queue"), bindings=[
        {"type": "service", "name": "AUTH", "service": "auth"}
    ]))  # fmt: skip
    state = host.state()
    response = await host.deploy("auth", "prod", tenant="eve")
    message = await refuse(host, response, state, 409, 10064, None)
    assert "AUTH" in message
    ok(await host.deploy("auth", "prod", tenant="shop"))


@dataclass
class Bad:
    """One request. `{kv}` and the like stand for ids of the world."""

    what: str
    method: str
    path: str
    body: object
    status: int
    code: int
    where: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def route(**changes: object) -> dict[str, object]:
    return {"hostname": "a.example.com", "target": {"namespace": "prod", "script": "shop"}, **changes}


CONSUMER = f"{QUEUES}/{{queue}}/consumers/{{consumer}}"
VALUES = f"{KV}/{{kv}}/values"
REQUESTS = [
    Bad("a hostname that is none", "POST", ROUTES, route(hostname="a b.example"), 400, 10021, "hostname"),
    Bad("a hostname with a port", "POST", ROUTES, route(hostname="a.example:80"), 400, 10021, "hostname"),
    Bad("a wildcard in the middle", "POST", ROUTES, route(hostname="a.*.example"), 400, 10021, "hostname"),
    Bad("a public suffix", "POST", ROUTES, route(hostname="*.co.uk"), 400, 10021, "hostname"),
    Bad("no hostname", "POST", ROUTES, {"target": {"script": "x"}}, 400, 10026, "body"),
    Bad("a target that isn't there", "POST", ROUTES, route(target={"namespace": "prod", "script": "none"}), 404,
        10092, "target.script"),
    Bad("a plain target that isn't there", "POST", ROUTES, route(target={"script": "none"}), 404, 10007,
        "target.script"),
    Bad("a target's namespace that isn't there", "POST", ROUTES, route(target={"namespace": "x", "script": "a"}),
        404, 100119, "target.namespace"),
    Bad("no target", "POST", ROUTES, route(target={}), 400, 10021, "target"),
    Bad("two targets", "POST", ROUTES, route(target={"script": "shop", "hook": "h"}), 400, 10021, "target"),
    Bad("a tie", "POST", ROUTES, route(hostname="SHOP.example.com.", path_prefix="/"), 409, 20002, "hostname"),
    Bad("header routes where they are off", "POST", ROUTES,
        route(headers=[{"name": "x", "value": "1"}]), 400, 20003, "headers"),
    Bad("a header that is none", "POST", ROUTES, route(headers=[{"name": "x y", "value": "1"}]), 400, 10021,
        "headers[0].name"),
    Bad("a header twice", "POST", ROUTES,
        route(headers=[{"name": "X", "value": "1"}, {"name": "x", "value": "2"}]), 400, 10021, "headers[1].name"),
    Bad("a header's value with a blank end", "POST", ROUTES, route(headers=[{"name": "x", "value": "1 "}]), 400,
        10021, "headers[0].value"),
    Bad("a prefix without a slash", "POST", ROUTES, route(path_prefix="api"), 400, 10021, "path_prefix"),
    Bad("a prefix that climbs", "POST", ROUTES, route(path_prefix="/a/../b"), 400, 10021, "path_prefix"),
    Bad("a prefix with a query", "POST", ROUTES, route(path_prefix="/a?b"), 400, 10021, "path_prefix"),
    Bad("a prefix in another spelling", "POST", ROUTES, route(path_prefix="/%61"), 400, 10021, "path_prefix"),
    Bad("a misspelled key", "POST", ROUTES, route(path_prefx="/a"), 400, 10026),
    Bad("a route that isn't there", "PUT", f"{ROUTES}/none", route(), 404, 20001),
    Bad("a route that isn't there", "DELETE", f"{ROUTES}/none", None, 404, 20001),
    Bad("a hostname's setting that is none", "PUT", f"{ACCOUNT}/workers/dispatch/hostnames/a.example",
        {"header_routes": 1}, 400, 10026, "header_routes"),
    Bad("a hostname that is none", "PUT", f"{ACCOUNT}/workers/dispatch/hostnames/a%20b", {"header_routes": True},
        400, 10021, "hostname"),
    Bad("a namespace's name", "POST", NAMESPACES, {"name": "Not Good"}, 400, 10016, "name"),
    Bad("a namespace twice", "POST", NAMESPACES, {"name": "prod"}, 409, 100120, "name"),
    Bad("a namespace's new name", "PUT", f"{NAMESPACES}/prod", {"name": "other"}, 400, 10016, "name"),
    Bad("a namespace that is in use", "DELETE", f"{NAMESPACES}/prod", None, 409, 100121),
    Bad("a namespace that isn't there", "DELETE", f"{NAMESPACES}/none", None, 404, 100119),
    Bad("a script's name", "PUT", f"{NAMESPACES}/prod/scripts/Sh%20op", None, 400, 10016),
    Bad("a script alone as JSON", "PUT", SHOP, {"metadata": {"main_module": "x"}}, 400, 10026, "body"),
    Bad("a KV title twice", "POST", KV, {"title": "mine"}, 400, 10014, "title"),
    Bad("a KV title that is none", "POST", KV, {"title": " "}, 400, 10021, "title"),
    Bad("half an owner", "POST", KV, {"title": "x", "tenant": "acme"}, 400, 10021, "namespace"),
    Bad("an owner's namespace that isn't there", "POST", KV, {"title": "x", "tenant": "a", "namespace": "n"}, 404,
        100119, "namespace"),
    Bad("a KV namespace that isn't there", "GET", f"{KV}/none/keys", None, 404, 10013),
    Bad("a KV key too long", "PUT", f"{VALUES}/{'k' * 513}", b"v", 413, 10027, "key"),
    Bad("a KV key that is a dot", "PUT", f"{VALUES}/%2E%2E", b"v", 400, 10021, "key"),
    Bad("a KV key that is no UTF-8", "PUT", f"{VALUES}/%ff", b"v", 400, 10021, "key"),
    Bad("a KV value too large", "PUT", f"{VALUES}/k", b"v" * ((25 << 20) + 1), 413, 10027, "value"),
    Bad("a KV body too large", "PUT", f"{VALUES}/k", b"v" * ((26 << 20) + 1), 413, 10027, "body"),
    Bad("an expiration too near", "PUT", f"{VALUES}/k?expiration_ttl=59", b"v", 400, 10021, "expiration_ttl"),
    Bad("an expiration in the past", "PUT", f"{VALUES}/k?expiration=5", b"v", 400, 10021, "expiration"),
    Bad("an expiration that is none", "PUT", f"{VALUES}/k?expiration=soon", b"v", 400, 10021, "expiration"),
    Bad("a bulk with one bad key", "PUT", f"{KV}/{{kv}}/bulk",
        [{"key": "a", "value": "1"}, {"key": "", "value": "2"}], 400, 10021, "key"),
    Bad("a bulk value that is no base64", "PUT", f"{KV}/{{kv}}/bulk",
        [{"key": "a", "value": "?", "base64": True}], 400, 10021, "[0].value"),
    Bad("a queue's name", "POST", QUEUES, {"queue_name": "-x"}, 400, 10016, "queue_name"),
    Bad("a queue twice", "POST", QUEUES, {"queue_name": "jobs"}, 409, 11009, "queue_name"),
    Bad("a queue's delay", "POST", QUEUES, {"queue_name": "x", "settings": {"delivery_delay": 43_201}}, 400, 10021,
        "settings.delivery_delay"),
    Bad("a queue's retention", "PATCH", f"{QUEUES}/{{queue}}", {"settings": {"message_retention_period": 59}}, 400,
        10021, "settings.message_retention_period"),
    Bad("a queue's setting misspelled", "PATCH", f"{QUEUES}/{{queue}}", {"settings": {"paused": True}}, 400, 10026),
    Bad("pulling where a worker consumes", "POST", f"{QUEUES}/{{queue}}/messages/pull", {}, 400, 20009),
    Bad("acknowledging where a worker consumes", "POST", f"{QUEUES}/{{queue}}/messages/ack", {"acks": []}, 400,
        20009),
    Bad("a peek too large", "POST", f"{QUEUES}/{{queue}}/messages/peek", {"batch_size": 101}, 400, 10021,
        "batch_size"),
    Bad("references too many", "POST", f"{QUEUES}/{{queue}}/messages/purge", {"refs": [{"ref": "1"}] * 1_001}, 400,
        10021, "refs"),
    Bad("a queue in use", "DELETE", f"{QUEUES}/{{queue}}", None, 409, 20007),
    Bad("a second consumer", "POST", f"{QUEUES}/{{queue}}/consumers",
        {"script_name": "shop", "dispatch_namespace": "prod"}, 409, 11004),
    Bad("a consumer without a script", "PUT", CONSUMER, {}, 400, 10021, "script_name"),
    Bad("a consumer of no type", "PUT", CONSUMER, {"type": "sqs"}, 400, 10021, "type"),
    Bad("a consumer that pulls, and is a script", "PUT", CONSUMER, {"type": "http_pull", "script_name": "shop"}, 400,
        10021, "script_name"),
    Bad("a consumer that pulls, with a worker's setting", "PUT", CONSUMER,
        {"type": "http_pull", "settings": {"max_concurrency": 2}}, 400, 10021, "settings.max_concurrency"),
    Bad("a worker with a setting of who pulls", "PUT", CONSUMER,
        {"script_name": "shop", "settings": {"visibility_timeout_ms": 2}}, 400, 10021,
        "settings.visibility_timeout_ms"),
    Bad("too many batches at once", "PUT", CONSUMER, {"script_name": "shop", "settings": {"max_concurrency": 251}},
        400, 10021, "settings.max_concurrency"),
    Bad("a consumer that isn't there", "PUT", CONSUMER, {"script_name": "none"}, 404, 10007, "script_name"),
    Bad("a consumer without a handler", "PUT", CONSUMER, {"script_name": "theirs", "dispatch_namespace": "prod"},
        400, 10069, "script_name"),
    Bad("a batch too large", "PUT", CONSUMER, {"script_name": "shop", "settings": {"batch_size": 101}}, 400, 10021,
        "settings.batch_size"),
    Bad("a setting misspelled", "PUT", CONSUMER, {"script_name": "shop", "settings": {"batch": 1}}, 400, 10026),
    Bad("a dead-letter queue that isn't there", "PUT", CONSUMER,
        {"script_name": "shop", "dispatch_namespace": "prod", "dead_letter_queue": "none"}, 404, 11000,
        "dead_letter_queue"),
    Bad("a queue as its own dead-letter queue", "PUT", CONSUMER,
        {"script_name": "shop", "dispatch_namespace": "prod", "dead_letter_queue": "jobs"}, 404, 11000,
        "dead_letter_queue"),
    Bad("a message too large", "POST", f"{QUEUES}/{{queue}}/messages", {"body": "x" * 128_001}, 413, 10027),
    Bad("a message of no type", "POST", f"{QUEUES}/{{queue}}/messages", {"body": "x", "content_type": "v8"}, 400,
        10021),
    Bad("a message that waits too long", "POST", f"{QUEUES}/{{queue}}/messages",
        {"body": "x", "delay_seconds": 43_201}, 400, 10021),
    Bad("a policy with a typo", "PUT", f"{NAMESPACES}/prod/egress-policy",
        b"version: 1\nrules:\n  - name: a\n    actoin: allow\n", 400, 20020),
    Bad("a policy that is no text", "PUT", f"{ACCOUNT}/workers/egress-policy", b"\xff", 400, 20020, "policy"),
    Bad("a policy for no namespace", "PUT", f"{NAMESPACES}/none/egress-policy", b"version: 1", 404, 100119),
    Bad("no policy", "GET", f"{ACCOUNT}/workers/egress-policy", None, 404, 20021),
    Bad("a secret of no name", "PUT", f"{SHOP}/secrets", {"name": "a b", "text": "x"}, 400, 10016, "name"),
    Bad("a secret without text", "PUT", f"{SHOP}/secrets", {"name": "A"}, 400, 10026),
    Bad("a secret of another type", "PUT", f"{SHOP}/secrets", {"name": "A", "text": "x", "type": "secret_key"}, 400,
        10021, "type"),
    Bad("a page that is none", "GET", f"{ROUTES}?page=0", None, 400, 10021, "page"),
    Bad("too much a page", "GET", f"{ROUTES}?per_page=1001", None, 400, 10021, "per_page"),
    Bad("a flag that is none", "DELETE", f"{SHOP}?force=1", None, 400, 10021, "force"),
    Bad("a cursor that is none", "GET", f"{NAMESPACES}/prod/scripts?cursor=%00", None, 400, 10021, "cursor"),
    Bad("a KV cursor that is none", "GET", f"{KV}/{{kv}}/keys?cursor=abc", None, 400, 10021, "cursor"),
    Bad("JSON that is none", "POST", NAMESPACES, b"{", 400, 10026, "body"),
    Bad("JSON nested too deep", "POST", f"{QUEUES}/{{queue}}/messages", b'{"body":' + b"[" * 50_000, 400, 10026,
        "body"),
    Bad("JSON nested too deep, and closed", "POST", f"{QUEUES}/{{queue}}/messages",
        b'{"body":' + b"[" * 900 + b"]" * 900 + b"}", 400, 10021, "body"),
    Bad("a script's tags that are none", "PUT", f"{SHOP}/tags", [[]], 400, 10026, "[0]"),
    Bad("a body too large", "POST", NAMESPACES, b" " * 65_537, 413, 10027, "body"),
]  # fmt: skip


@pytest.mark.parametrize("bad", REQUESTS, ids=[f"{bad.what}: {bad.method}" for bad in REQUESTS])
async def test_requests(host: Host, world: World, bad: Bad) -> None:
    state = host.state()
    path = bad.path
    for name in ("kv", "queue", "consumer"):
        path = path.replace(f"{{{name}}}", getattr(world, name))
    content = bad.body if isinstance(bad.body, bytes | None) else json.dumps(bad.body)
    response = await host.api.request(bad.method, path, content=content, headers=dict(bad.headers))
    await refuse(host, response, state, bad.status, bad.code, bad.where)
    assert len(ok(await host.api.get(f"{KV}/{world.kv}/keys"))) == 0


async def test_a_policy_error_names_line_and_field(host: Host, world: World) -> None:
    text = b"version: 1\nrules:\n  - name: a\n    actoin: allow\n"
    response = await host.api.put(f"{NAMESPACES}/prod/egress-policy", content=text)
    message = refused(response, 400, 20020)
    assert "line 4" in message
    assert "actoin" in message
    assert response.json()["errors"][0]["meta"]["line"] == 4


MULTIPART = [
    ("no boundary", "multipart/form-data", b"--x\r\n"),
    ("another boundary", "multipart/form-data; boundary=y", b"--x\r\n\r\n--x--\r\n"),
    ("a boundary too long", f"multipart/form-data; boundary={'y' * 500}", b"--x\r\n"),
    ("no end", "multipart/form-data; boundary=x", b'--x\r\ncontent-disposition: form-data; name="a"\r\n\r\nabc'),
    ("a part without a name", "multipart/form-data; boundary=x", b"--x\r\nx-y: z\r\n\r\nabc\r\n--x--\r\n"),
    ("a head too large", "multipart/form-data; boundary=x", b"--x\r\nx-y: " + b"z" * 9_000 + b"\r\n\r\n\r\n--x--"),
    ("too many heads", "multipart/form-data; boundary=x", b"--x\r\n" + b"x: y\r\n" * 100 + b"\r\n\r\n--x--\r\n"),
    ("too many parts", "multipart/form-data; boundary=x",
     b'--x\r\ncontent-disposition: form-data; name="a"\r\n\r\n\r\n' * 65 + b"--x--\r\n"),
    ("two of metadata", "multipart/form-data; boundary=x",
     b'--x\r\ncontent-disposition: form-data; name="metadata"\r\n\r\n{}\r\n' * 2 + b"--x--\r\n"),
    ("nothing", "multipart/form-data; boundary=x", b"--x--\r\n"),
    ("no body", "multipart/form-data; boundary=x", b""),
]  # fmt: skip


@pytest.mark.parametrize(("what", "content_type", "body"), MULTIPART, ids=[each[0] for each in MULTIPART])
async def test_forms_that_are_none(
    host: Host, world: World, what: str, content_type: str, body: bytes
) -> None:
    state = host.state()
    response = await host.api.put(SHOP, content=body, headers={"content-type": content_type})
    await refuse(host, response, state, 400, 10026, None)


async def test_a_module_over_the_limit(host: Host, world: World) -> None:
    state = host.state()
    module = b"\0asm\1\0\0\0" + bytes(64 << 20)
    response = await host.api.put(SHOP, files=upload(module))
    message = await refuse(host, response, state, 413, 10027, "main_module")
    assert str(64 << 20) in message
    response = await host.api.put(SHOP, files=upload(module + bytes(5 << 20)))
    await refuse(host, response, state, 413, 10027, "body")
