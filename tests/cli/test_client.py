"""What the client makes of a host that behaves badly, and what it never sends."""

from __future__ import annotations

import json

import pytest

from cli.client import ApiClient, Part, encode_multipart
from cli.errors import ApiError, CliError, ExitCode, Unreachable
from tests.cli.recording_api import Answer, RecordingApi, ok, refused


@pytest.fixture
def client(api: RecordingApi) -> ApiClient:
    return ApiClient(api.url, "secret-token", "default")


def test_upload_refused_before_it_was_read_shows_the_refusal(api: RecordingApi, client: ApiClient) -> None:
    early = refused(413, 10027, "the module is too large")
    early.how = "early"
    api.on("PUT", "/workers/scripts/s", early)
    with pytest.raises(ApiError, match="too large") as caught:
        client.upload(client.script(None, "s"), bytes(32 << 20), "application/wasm", lambda _: None)
    assert (caught.value.status, caught.value.code) == (413, 10027)


def test_host_that_closes_without_an_answer_is_unreachable(api: RecordingApi, client: ApiClient) -> None:
    api.on("GET", "/queues", Answer(how="never"))
    with pytest.raises(Unreachable, match="closed the connection before it had answered"):
        client.get(client.path("queues"))


def test_redirect_is_not_followed(api: RecordingApi, client: ApiClient) -> None:
    api.on("GET", "/queues", Answer(302, b"", {"location": f"{api.url}/elsewhere"}))
    with pytest.raises(CliError, match="answered 302"):
        client.get(client.path("queues"))
    assert len(api.asked) == 1


def test_proxy_variables_do_not_get_the_token(
    api: RecordingApi, client: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    api.on("GET", "/queues", ok([]))
    assert client.get(client.path("queues")) == []


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b"{}", b'{"success": 1', b"\xff", b"[" * 100_000],
    ids=["empty", "list", "null", "no success", "cut off", "no text", "deep"],
)
def test_body_that_is_no_envelope_is_explained(api: RecordingApi, client: ApiClient, body: bytes) -> None:
    api.on("GET", "/queues", Answer(200, body))
    with pytest.raises(CliError, match="no envelope of the API"):
        client.get(client.path("queues"))


@pytest.mark.parametrize("errors", [None, [], "x", ["x"], [{"code": "x", "message": 7}]])
def test_refusal_with_odd_errors_is_still_a_refusal(
    api: RecordingApi, client: ApiClient, errors: object
) -> None:
    api.on("GET", "/queues", Answer(500, json.dumps({"success": False, "errors": errors}).encode()))
    with pytest.raises(ApiError) as caught:
        client.get(client.path("queues"))
    assert caught.value.status == 500
    assert caught.value.message


@pytest.mark.parametrize("status", [400, 404, 500])
def test_refusal_is_exit_1(api: RecordingApi, client: ApiClient, status: int) -> None:
    api.on("GET", "/queues", refused(status, 7003, "no"))
    with pytest.raises(ApiError) as caught:
        client.get(client.path("queues"))
    assert caught.value.exit_code is ExitCode.REFUSED


def test_multipart_has_a_boundary_that_no_part_can_know() -> None:
    parts = [Part("a", b"x", "text/plain"), Part("b", b"y", "text/plain", "b.txt")]
    first, second = encode_multipart(parts), encode_multipart(parts)
    assert first[0] != second[0]
    assert b'name="b"; filename="b.txt"\r\nContent-Type: text/plain\r\n\r\ny\r\n--' in first[1]
