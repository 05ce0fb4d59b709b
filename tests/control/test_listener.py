"""Over a real listener: addresses keep their encoding, bodies their bounds, and a broken upload leaves no trace."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator

import httpx2
import pytest
import uvicorn

from control.host_check import HostRules
from tests.control.support import KV, QUEUES, Host, ok, refused, script_path, upload, worker_module


@pytest.fixture
async def port(host: Host) -> AsyncIterator[int]:
    config = uvicorn.Config(host.app, "127.0.0.1", 0, http="httptools", log_config=None, lifespan="on")
    server = uvicorn.Server(config)
    # Its signal handlers are for a process of its own.
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event to wait for
        await asyncio.sleep(0.005)
    bound = int(server.servers[0].sockets[0].getsockname()[1])
    host.services.hosts = HostRules.of_listener("127.0.0.1", bound)
    yield bound
    server.should_exit = True
    await task


@pytest.fixture
async def wire(host: Host, port: int) -> AsyncIterator[httpx2.AsyncClient]:
    headers = {"authorization": f"Bearer {host.token}"}
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers) as client:
        yield client


async def raw(port: int, request: bytes) -> bytes:
    """All that comes back until the other side ends it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    await writer.drain()
    answer = await reader.read()
    writer.close()
    return answer


async def test_an_encoded_slash_is_part_of_a_key(host: Host, wire: httpx2.AsyncClient) -> None:
    kv = ok(await wire.post(KV, json={"title": "t"}))["id"]
    ok(await wire.put(f"{KV}/{kv}/values/a%2Fb?expiration_ttl=100", content=b"v"))
    assert (await wire.get(f"{KV}/{kv}/values/a%2fb")).content == b"v"
    assert [key["name"] for key in ok(await wire.get(f"{KV}/{kv}/keys"))] == ["a/b"]
    refused(await wire.get(f"{KV}/{kv}/values/a/b"), 404, 7003)


async def test_a_large_module_arrives_whole(host: Host, wire: httpx2.AsyncClient) -> None:
    payload = bytes(range(256)) * (20 << 12)  # 20 MiB, in a custom section
    size = len(payload) + 5
    length = bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14 & 0x7F | 0x80, size >> 21])
    module = worker_module() + b"\0" + length + b"\4note" + payload
    result = ok(await wire.put(script_path("big"), files=upload(module), timeout=30))
    assert result["etag"] == hashlib.sha256(module).hexdigest()


async def test_a_chunked_body_over_the_limit_is_413_and_ends_the_connection(
    host: Host, wire: httpx2.AsyncClient, port: int
) -> None:
    head = f"POST {QUEUES} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: Bearer {host.token}\r\n"
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    answer = await raw(port, head.encode() + b"transfer-encoding: chunked\r\n\r\n" + chunk + b"1\r\n \r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer.lower()
    assert b'"code":10027' in answer


async def test_an_upload_that_breaks_off_changes_nothing(host: Host, port: int) -> None:
    ok(await host.api.get("/healthz", headers={"host": f"127.0.0.1:{port}"}))
    state = host.state()
    head = (
        f"PUT {script_path('shop')} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: Bearer {host.token}\r\n"
        "content-type: multipart/form-data; boundary=x\r\ncontent-length: 1000\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head.encode() + b'--x\r\ncontent-disposition: form-data; name="metadata"\r\n\r\n{}')
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    await asyncio.sleep(0.05)
    assert host.state() == state
    assert host.publisher.prepared == []
    del reader


async def test_two_hosts_or_none_are_not_answered(host: Host, port: int) -> None:
    own = f"host: 127.0.0.1:{port}\r\n"

    def request(hosts: str) -> bytes:
        rest = f"authorization: Bearer {host.token}\r\nconnection: close\r\n\r\n"
        return f"GET {QUEUES} HTTP/1.1\r\n{hosts}{rest}".encode()

    for hosts in (own + "host: evil.example\r\n", own + own, "", "host: evil.example\r\n"):
        assert (await raw(port, request(hosts))).split(b" ")[1] in (b"400", b"421")
    assert (await raw(port, request(own))).startswith(b"HTTP/1.1 200 ")


async def test_starting_finishes_deletions(host: Host) -> None:
    kv = ok(await host.api.post(KV, json={"title": "t"}))["id"]
    await host.store.kv_namespaces.delete(kv, force=False)
    async with host.app.router.lifespan_context(host.app):
        assert host.store.pending_deletions.all() == []
