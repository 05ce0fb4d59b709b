"""A worker can't frame a response of its own, end one early or late, or answer for the connection; the
visitor gets the bytes that were meant, over a real connection.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import pytest

from dispatch.responses import MAX_RESPONSE_HEADERS, AsgiResponder, StayingVisitor, check_headers
from model.errors import LoadShed, TenantError
from model.messages import HOP_BY_HOP, Header, Responder, StreamClosed
from model.outcome import EventOutcome
from tests.dispatch.http_server import exchange, serving

RAY = (b"x-tenantry-ray", b"0123456789abcdef")


class Sent(list[MutableMapping[str, Any]]):
    """An ASGI send that keeps what it was given."""

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        self.append(message)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self)


def responder(sent: Sent, method: str = "GET", **more: Any) -> AsgiResponder:
    return AsgiResponder(sent, method, "0123456789abcdef", **more)


async def test_a_whole_response_is_two_messages_with_its_length_and_ray() -> None:
    sent = Sent()
    one = responder(sent)
    await one.send_whole(201, [(b"content-type", b"text/plain")], b"hello")
    assert sent[0]["status"] == 201
    assert sent[0]["headers"] == [(b"content-type", b"text/plain"), RAY, (b"content-length", b"5")]
    assert (len(sent), sent.body) == (2, b"hello")
    assert (one.started, one.ended, one.broken, one.status, one.bytes_out) == (True, True, False, 201, 5)


async def test_a_streamed_response_keeps_repeats_and_order() -> None:
    sent = Sent()
    one: Responder = responder(sent)
    await one.start(200, [(b"set-cookie", b"a=1"), (b"x", b""), (b"set-cookie", b"b=2")])
    await one.write(b"a")
    await one.write(b"")  # would end nothing, says nothing
    await one.write(b"b")
    await one.end()
    assert sent[0]["headers"] == [(b"set-cookie", b"a=1"), (b"x", b""), (b"set-cookie", b"b=2"), RAY]
    assert [message.get("more_body") for message in sent[1:]] == [True, True, False]
    assert sent.body == b"ab"


@pytest.mark.parametrize(
    "header",
    [
        (b"x", b"a\r\nset-cookie: stolen"),
        (b"x", b"a\nb"),
        (b"x", b"a\rb"),
        (b"x", b"a\x00b"),
        (b"x", b"\x7f"),
        (b"", b"v"),
        (b"x y", b"v"),
        (b"x:", b"v"),
        (b"x\r\n", b"v"),
        (b"x\n", b"v"),
        ("ä".encode(), b"v"),
        *((name, b"v") for name in sorted(HOP_BY_HOP)),
        (b"Transfer-Encoding", b"chunked"),  # in any case
        (b"content-length", b"-1"),
        (b"content-length", b"+5"),
        (b"content-length", b"5, 5"),
        (b"content-length", b""),
        (b"content-length", b" 5"),
        (b"content-length", b"1" * 16),
    ],
)
async def test_headers_that_are_refused(header: Header) -> None:
    sent = Sent()
    for _ in range(2):  # the second time from the cache of names
        with pytest.raises(TenantError) as refused:
            await responder(sent).send_whole(200, [header], b"hello")
        assert refused.value.outcome is EventOutcome.EXCEPTION
        with pytest.raises(TenantError):
            await responder(sent).start(200, [header])
    assert sent == []


def test_a_nested_workers_headers_are_held_to_the_same_rules() -> None:
    headers = [(b"content-length", b"5"), (b"x", b"1"), (b"x-tenantry-ray", b"forged")]
    assert check_headers(200, headers) == headers[:2]
    for status, header in [(200, (b"connection", b"close")), (200, (b"x", b"\n")), (101, (b"x", b"1"))]:
        with pytest.raises(TenantError):
            check_headers(status, [header])


async def test_two_content_lengths_are_refused_even_when_equal() -> None:
    sent = Sent()
    with pytest.raises(TenantError, match="one, of 1 to 15 digits"):
        await responder(sent).start(200, [(b"content-length", b"5"), (b"Content-Length", b"5")])


async def test_values_may_hold_tabs_and_bytes_above_ascii() -> None:
    sent = Sent()
    await responder(sent).send_whole(200, [(b"x", "a\tä".encode())], b"")
    assert sent[0]["headers"][0] == (b"x", "a\tä".encode())


async def test_a_worker_can_not_forge_the_ray() -> None:
    sent = Sent()
    await responder(sent).send_whole(
        200, [(b"x-tenantry-ray", b"forged"), (b"X-Tenantry-Any", b"thing")], b""
    )
    assert sent[0]["headers"] == [RAY, (b"content-length", b"0")]


@pytest.mark.parametrize("status", [0, 100, 101, 103, 199, 600, 999, -200, True, 200.0, "200", None])
async def test_statuses_that_are_refused(status: Any) -> None:
    sent = Sent()
    with pytest.raises(TenantError, match="200 to 599"):
        await responder(sent).start(status, [])
    assert sent == []


@pytest.mark.parametrize("status", [200, 299, 404, 500, 599])
async def test_statuses_that_pass(status: int) -> None:
    sent = Sent()
    await responder(sent).send_whole(status, [], b"x")
    assert sent[0]["status"] == status


async def test_header_bytes_and_count_are_limited() -> None:
    sent = Sent()
    await responder(sent, max_header_bytes=10).send_whole(200, [(b"x", b"9bytes...")], b"")
    with pytest.raises(TenantError, match="11 bytes: the platform's limit is 10"):
        await responder(sent, max_header_bytes=10).send_whole(200, [(b"x", b"10bytes...")], b"")
    await responder(sent).send_whole(200, [(b"x", b"v")] * MAX_RESPONSE_HEADERS, b"")
    with pytest.raises(TenantError, match="257 response headers: 256 is the limit"):
        await responder(sent).send_whole(200, [(b"x", b"v")] * (MAX_RESPONSE_HEADERS + 1), b"")


async def test_more_bytes_than_promised_break_it_off_and_none_of_the_surplus_is_sent() -> None:
    sent = Sent()
    one = responder(sent)
    await one.start(200, [(b"content-length", b"5")])
    await one.write(b"abc")
    with pytest.raises(TenantError, match="longer than its content-length: 3 bytes came, 2 were left"):
        await one.write(b"def")
    assert one.broken
    assert sent.body == b"abc"


async def test_fewer_bytes_than_promised_break_it_off() -> None:
    sent = Sent()
    one = responder(sent)
    await one.start(200, [(b"content-length", b"5")])
    await one.write(b"abc")
    with pytest.raises(TenantError, match="2 bytes shorter"):
        await one.end()
    assert (one.broken, one.ended) == (True, False)


async def test_a_whole_response_with_a_wrong_length_was_never_begun() -> None:
    sent = Sent()
    one = responder(sent)
    with pytest.raises(TenantError, match="content-length is 4, but the body has 5 bytes"):
        await one.send_whole(200, [(b"content-length", b"4")], b"hello")
    assert (sent, one.started) == ([], False)
    await one.send_error(EventOutcome.EXCEPTION)  # so that its page can be shown
    assert sent[0]["status"] == 500


@pytest.mark.parametrize(
    ("method", "status", "length"),
    [("HEAD", 200, b"5"), ("GET", 204, None), ("GET", 304, None), ("GET", 205, b"0")],
)
@pytest.mark.parametrize("whole", [True, False])
async def test_no_body_where_there_is_none(
    method: str, status: int, length: bytes | None, whole: bool
) -> None:
    sent = Sent()
    one = responder(sent, method)
    if whole:
        await one.send_whole(status, [(b"content-length", b"5")], b"hello")
    else:
        await one.start(status, [(b"content-length", b"5")])
        await one.write(b"more than five bytes")
        await one.end()
    assert (sent.body, one.bytes_out, one.ended) == (b"", 0, True)
    assert dict(sent[0]["headers"]).get(b"content-length") == length


async def test_calls_out_of_order_are_the_workers_fault() -> None:
    sent = Sent()
    one = responder(sent)
    for early in (one.write(b"x"), one.end()):
        with pytest.raises(TenantError, match=r"before response\.start"):
            await early
    await one.start(200, [])
    for again in (one.start(200, []), one.send_whole(200, [], b"")):
        with pytest.raises(TenantError, match="once"):
            await again
    await one.end()
    await one.end()
    with pytest.raises(TenantError, match=r"after response\.end"):
        await one.write(b"x")
    assert len(sent) == 2


async def test_a_visitor_who_left_closes_the_stream() -> None:
    sent, visitor = Sent(), StayingVisitor()
    one = responder(sent, visitor=visitor)
    await one.start(200, [])
    visitor.left = True
    with pytest.raises(StreamClosed):
        await one.write(b"x")
    with pytest.raises(StreamClosed):
        await one.end()
    assert (one.broken, len(sent)) == (True, 1)
    with pytest.raises(StreamClosed):
        await responder(sent, visitor=visitor).send_whole(200, [], b"x")
    await responder(sent, visitor=visitor).send_error(EventOutcome.EXCEPTION)
    assert len(sent) == 1


async def test_one_who_leaves_while_a_write_waits_is_noticed_by_that_write() -> None:
    visitor = StayingVisitor()

    async def leaving(message: MutableMapping[str, Any]) -> None:
        visitor.left = bool(message.get("body"))

    one = AsgiResponder(leaving, "GET", "0" * 16, visitor)
    await one.start(200, [])
    with pytest.raises(StreamClosed):
        await one.write(b"x")


async def test_a_server_that_raises_for_a_lost_connection_closes_the_stream() -> None:
    async def gone(message: MutableMapping[str, Any]) -> None:
        raise OSError("gone")

    with pytest.raises(StreamClosed):
        await AsgiResponder(gone, "GET", "0" * 16).start(200, [])
    with pytest.raises(StreamClosed):
        await AsgiResponder(gone, "GET", "0" * 16).send_whole(200, [], b"")
    await AsgiResponder(gone, "GET", "0" * 16).send_error(EventOutcome.EXCEPTION)


async def test_an_error_after_the_start_breaks_off_and_one_before_shows_its_page() -> None:
    sent = Sent()
    one = responder(sent)
    await one.send_error(LoadShed("busy", retry_after_s=7), b"text/html")
    assert (sent[0]["status"], dict(sent[0]["headers"])[b"retry-after"]) == (503, b"7")
    assert (one.broken, one.ended) == (False, True)
    await one.send_error(EventOutcome.EXCEPTION)  # the response is over: nothing to break
    assert (one.broken, len(sent)) == (False, 2)
    other = responder(Sent())
    other.abort()
    assert not other.broken  # nothing was begun: a page can still be shown
    await other.start(200, [])
    await other.send_error(EventOutcome.EXCEPTION)
    assert other.broken


@pytest.mark.parametrize(
    ("method", "status", "headers", "body", "expected_head", "expected_body"),
    [
        ("GET", 200, [], b"hello", b"content-length: 5", b"hello"),
        ("HEAD", 200, [(b"content-length", b"5")], b"", b"content-length: 5", b""),
        ("HEAD", 200, [], b"hello", b"HTTP/1.1 200", b""),
        ("GET", 204, [], b"", b"HTTP/1.1 204", b""),
        ("GET", 304, [(b"content-length", b"5"), (b"etag", b'"1"')], b"", b'etag: "1"', b""),
        ("GET", 205, [], b"x", b"content-length: 0", b""),
    ],
)
async def test_over_a_real_connection(
    method: str, status: int, headers: list[Header], body: bytes, expected_head: bytes, expected_body: bytes
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await AsgiResponder(send, scope["method"], "0" * 16).send_whole(status, headers, body)

    async with serving(app) as port:
        answer = await exchange(port, f"{method} / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".encode())
    head, _, rest = answer.partition(b"\r\n\r\n")
    assert expected_head in head
    assert rest == expected_body
    assert b"500 Internal" not in answer


@pytest.mark.parametrize("promised", [True, False], ids=["content-length", "chunked"])
async def test_a_broken_off_response_is_seen_to_be_cut_short(promised: bool) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        one = AsgiResponder(send, scope["method"], "0" * 16)
        await one.start(200, [(b"content-length", b"10")] if promised else [])
        await one.write(b"abc")
        await one.send_error(EventOutcome.EXCEPTION)
        assert one.broken

    async with serving(app) as port:
        answer = await exchange(port, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    _, _, rest = answer.partition(b"\r\n\r\n")
    # Closed without the last chunk, or short of the promised length: no client takes it for whole.
    assert rest == (b"abc" if promised else b"3\r\nabc\r\n")
