"""`/readyz` says whether a load balancer should send visitors here: not while draining, not without storage."""

from __future__ import annotations

import json
import signal

from tests.acceptance.platform import Platform, read_response, wait_until


def test_ready_and_healthy_on_both_listeners(platform: Platform) -> None:
    for path in ("/healthz", "/readyz"):
        assert platform.request("127.0.0.1", path).status == 200
        assert platform.api("GET", path, headers={"Authorization": "none"})[0] == 200


def test_without_its_storage_a_process_is_not_ready_but_alive(own_platform: Platform) -> None:
    kept, aside = own_platform.data / "kv.db", own_platform.data / "kv.db.aside"
    kept.rename(aside)
    lost = own_platform.request("127.0.0.1", "/readyz")
    assert lost.status == 503
    assert json.loads(lost.body)["reasons"][0].startswith("storage: ")
    assert own_platform.request("127.0.0.1", "/healthz").status == 200
    wait_until(lambda: own_platform.api("GET", "/readyz")[0] == 503)
    aside.rename(kept)
    assert own_platform.request("127.0.0.1", "/readyz").status == 200
    wait_until(lambda: own_platform.api("GET", "/readyz")[0] == 200)


def test_a_draining_process_is_not_ready(own_platform: Platform) -> None:
    """A connection that is in the middle of a request is answered: here with what a load balancer must know."""
    own_platform.deploy("hostile", "slow")
    busy = own_platform.connect()
    busy.sendall(b"GET /wait?ms=15000 HTTP/1.1\r\nHost: slow.localhost\r\n\r\n")
    wait_until(lambda: own_platform.metrics()["tenantry_suspended_events"] == 1)
    workers = len(own_platform.workers())
    # From here on within what a visitor may take for the rest of their headers.
    asking = own_platform.connect()
    asking.sendall(b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\n")
    for _ in range(20):  # whoever has it has seen it before these
        assert own_platform.request("127.0.0.1", "/readyz").status == 200
    own_platform.signal(signal.SIGTERM)
    wait_until(lambda: own_platform.log().count('"message": "draining"') >= workers)
    wait_until(lambda: own_platform.api("GET", "/readyz")[0] == 503)
    asking.sendall(b"\r\n")
    status, headers, body = read_response(asking)
    assert status == 503
    assert json.loads(body)["reasons"] == ["draining"]
    assert headers["connection"] == "close"
    assert read_response(busy)[0] == 200
    asking.close()
    busy.close()
