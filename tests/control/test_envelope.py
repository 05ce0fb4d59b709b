"""Every answer is an envelope: of each endpoint, and of whatever is no endpoint."""

from __future__ import annotations

import httpx2
import pytest

from control.app import ENDPOINTS
from control.call import Endpoint
from control.d1_transfers import TRANSFER
from control.envelope import _RULES, translate
from model.errors import LoadShed, OperationError, OperationErrorCode, PlatformFault
from storage.control_failures import ChangeRefused, Rule
from storage.failures import DiskFull, StorageBusy
from tests.control.support import ACCOUNT, NAMESPACES, Host, refused, script_path

_PARAMS = {
    "account": "default",
    "namespace": "none",
    "script": "none",
    "name": "NONE",
    "route": "none",
    "hostname": "none.example.com",
    "kv": "none",
    "database": "none",
    "key": "none",
    "queue": "none",
    "consumer": "none",
    "tag": "none",
    "tenant": "none",
    "version": "7",
}


def assert_envelope(response: httpx2.Response) -> None:
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    body = response.json()
    assert {"success", "errors", "messages", "result"} <= set(body) <= {
        "success", "errors", "messages", "result", "result_info"
    }  # fmt: skip
    assert body["success"] is (response.status_code == 200)
    assert isinstance(body["messages"], list)
    assert bool(body["errors"]) is not body["success"]
    for error in body["errors"]:
        assert isinstance(error["code"], int)
        assert error["message"]


def fill(path: str) -> str:
    return path.format(**_PARAMS)


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=[f"{each.method} {each.path}" for each in ENDPOINTS])
async def test_every_endpoint_answers_in_the_envelope(host: Host, endpoint: Endpoint) -> None:
    if endpoint.path == "/metrics":
        response = await host.api.get("/metrics")
        assert response.text == "tenantry_events_total 1\n"  # Prometheus text, by its standard
        return
    path = fill(endpoint.path)
    for content in (b"", b"{}", b"[]", b"null", b"\xff", b'{"name": 5, "kind": null, "messages": 7}'):
        response = await host.api.request(endpoint.method, path, content=content)
        assert response.status_code < 500
        assert_envelope(response)
    nobody = await host.client().request(endpoint.method, path)
    assert_envelope(nobody)
    # A transfer is asked for by an address that is signed: without a token, and not by just anybody.
    open_status = 403 if endpoint.path == TRANSFER else 200
    assert nobody.status_code == (open_status if endpoint.is_open else 401)
    for method in ("GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"):
        if not any(each.path == endpoint.path and each.method == method for each in ENDPOINTS):
            response = await host.api.request(method, path)
            refused(response, 405, 7001)
            assert endpoint.method in response.headers["allow"]
    too_large = await host.api.request(
        endpoint.method, path, headers={"content-length": str(endpoint.body_bytes + 1)}
    )
    refused(too_large, 413, 10027, "body")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/client/v4",
        "/client/v4/nothing",
        f"{ACCOUNT}/workers",
        f"{NAMESPACES}/",
        "/healthz/",
        "//healthz",
    ],
)
async def test_an_address_that_is_none_is_404_in_the_envelope(host: Host, path: str) -> None:
    response = await host.api.get(path)
    assert_envelope(response)
    refused(response, 404, 7003)


async def test_another_account_is_not_found(host: Host) -> None:
    for path in ("/client/v4/accounts/other", "/client/v4/accounts/other/queues", "/client/v4/accounts/%2F"):
        assert "default" in refused(await host.api.get(path), 404, 7003)


async def test_a_bug_of_ours_is_500_in_the_envelope_and_says_nothing(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    host.services.metrics = lambda: str(1 // 0)
    response = await host.api.get("/metrics")
    assert_envelope(response)
    assert "division" not in refused(response, 500, 10002)
    assert "ZeroDivisionError" in caplog.text


def test_every_rule_has_a_status_and_a_code() -> None:
    assert set(_RULES) == set(Rule)
    for rule in Rule:
        error = translate(ChangeRefused(rule, "message", "field"))
        assert error is not None
        assert 400 <= error.status < 500


@pytest.mark.parametrize(
    ("error", "status", "retry"),
    [
        (LoadShed("busy", retry_after_s=7), 503, "7"),
        (StorageBusy("busy"), 503, "1"),
        (DiskFull("full"), 507, "1"),
        (PlatformFault("ours"), 500, None),
        (OperationError(OperationErrorCode.LIMIT_EXCEEDED, "value: too large"), 413, None),
        (OperationError(OperationErrorCode.INTERNAL, "ours"), 500, None),
    ],
)
def test_failures_below_have_their_status(error: Exception, status: int, retry: str | None) -> None:
    shown = translate(error)
    assert shown is not None
    assert shown.status == status
    assert (shown.headers or {}).get("retry-after") == retry


def test_an_error_nobody_means_is_no_answer() -> None:
    assert translate(KeyError("x")) is None


async def test_head_is_get(host: Host) -> None:
    assert (await host.api.head("/healthz")).status_code == 200
    assert (await host.api.head(script_path("none"))).status_code == 404
