"""A session starts what a guest asks, waits as it wants, gives back what is done, and leaves nothing open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgpack
import pytest

from model.capabilities import Binding, GuestEvent, Operation, WorkerEnv
from model.errors import OperationError, OperationErrorCode, TenantError
from model.limits import Limits
from model.messages import Headers, StreamClosed
from runtime.abi.core_module.event_streams import STREAMS
from runtime.abi.core_module.session import PENDING, Session
from runtime.capi.guest import AbiViolation
from runtime.streams import PIPE_BYTES, Pipe
from tests.support.guests import OpenPermit, Remembered, context

Op = Sequence[object]


_hosts: list[Host] = []


@pytest.fixture(autouse=True)
async def _close_hosts() -> AsyncIterator[None]:
    """Whatever a test left pending ends with it."""
    yield
    for host in _hosts:
        host.session.close()
    await turns()
    assert not any(host.permit.parked for host in _hosts)
    _hosts.clear()


class Host:
    """A session and what stands behind it; closed at the end of the test."""

    def __init__(self, limits: Limits | None = None, responder: Remembered | None = None) -> None:
        _hosts.append(self)
        self.gates: dict[str, asyncio.Future[object]] = {}
        self.cancelled: list[str] = []
        self.events: list[GuestEvent] = []
        self.ended = 0
        self.responder = responder
        table = {
            "value": Operation("value", None, False, lambda _e, _l, args: args[0]),
            "gate": Operation("gate", None, False, lambda _e, _l, args: self._wait_at(str(args[0]))),
            "large": Operation("large", None, False, lambda _e, _l, args: b"x" * int(args[0])),  # type: ignore[call-overload]
            "bound": Operation("bound", "thing", False, lambda _e, lent, _a: lent),
            "sub": Operation("sub", None, True, lambda _e, _l, _a: 1),
            "borrow": Operation("borrow", None, False, self._borrow),
            "lend": Operation("lend", None, False, lambda e, _l, _a: e.lend_stream(self.source)),
            "bug": Operation("bug", None, False, lambda _e, _l, _a: 1 // 0),
            "late_bug": Operation("late_bug", None, False, lambda _e, _l, _a: self._late_bug()),
            "fails": Operation("fails", None, False, lambda _e, _l, _a: self._fails()),
            "odd": Operation("odd", None, False, lambda _e, _l, _a: 2**70),
        }
        self.source = Pipe()
        self.borrowed: list[Any] = []
        env = WorkerEnv(bindings={"THING": Binding("thing", "lent"), "OTHER": Binding("other", "not lent")})
        self.permit = OpenPermit()
        whose = context()
        whose.permit = self.permit
        self.session = Session(whose, env, table, limits or Limits(), responder, self._response_ended)

    def _response_ended(self) -> None:
        self.ended += 1

    def _borrow(self, event: GuestEvent, _lent: object, args: Sequence[object]) -> object:
        self.borrowed.append(event.borrow_stream(args[0]))
        return True

    async def _wait_at(self, name: str) -> object:
        gate = self.gates[name] = asyncio.get_running_loop().create_future()
        try:
            return await gate
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise

    async def _late_bug(self) -> object:
        await asyncio.sleep(0)
        raise ZeroDivisionError("ours")

    async def _fails(self) -> object:
        await asyncio.sleep(0)
        raise OperationError(OperationErrorCode.NOT_FOUND, "not there")

    def begin(self, *ops: Op, **call: object) -> asyncio.Task[dict[str, Any]]:
        return asyncio.ensure_future(self.call(*ops, **call))

    async def call(self, *ops: Op, **call: object) -> dict[str, Any]:
        reply = self.session.answer(msgpack.packb({"ops": [list(op) for op in ops], **call}))
        data = reply if isinstance(reply, bytes) else await reply
        decoded = msgpack.unpackb(data)
        return {"pending": decoded["pending"], "done": dict(map(tuple, decoded["done"]))}

    async def one(self, name: str, *args: object, binding: object = None) -> Any:
        """The value of one operation; its error as (code, message)."""
        reply = await self.call([999, name, binding, *args])
        result = reply["done"][999]
        if "ok" in result:
            return result["ok"]
        return result["error"]["code"], result["error"]["message"]

    async def code(self, name: str, *args: object, binding: object = None) -> str:
        code, _ = await self.one(name, *args, binding=binding)
        return str(code)


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


# -- waiting ----------------------------------------------------------------------------------------------


async def test_what_is_ready_at_once_suspends_nobody() -> None:
    host = Host()
    reply = host.session.answer(msgpack.packb({"ops": [[1, "value", None, "v"]]}))
    assert isinstance(reply, bytes)
    assert host.permit.parked == 0


async def test_all_waits_for_the_operations_of_this_call_only() -> None:
    host = Host()
    assert (await host.call([1, "gate", None, "old"], wait="none"))["pending"] == 1
    waiting = host.begin([2, "gate", None, "a"], [3, "gate", None, "b"])
    await turns()
    host.gates["a"].set_result("A")
    await turns()
    assert not waiting.done()
    assert host.permit.parked == 1
    host.gates["b"].set_result("B")
    assert await waiting == {"pending": 1, "done": {2: {"ok": "A"}, 3: {"ok": "B"}}}
    assert host.permit.parked == 0
    host.session.close()


async def test_any_waits_for_one_of_everything_pending() -> None:
    host = Host()
    await host.call([1, "gate", None, "old"], wait="none")
    waiting = host.begin([2, "gate", None, "new"], wait="any")
    await turns()
    host.gates["old"].set_result("first")
    assert await waiting == {"pending": 1, "done": {1: {"ok": "first"}}}
    waiting = host.begin(wait="any")
    await turns()
    host.gates["new"].set_result("second")
    assert await waiting == {"pending": 0, "done": {2: {"ok": "second"}}}
    assert await host.call(wait="any") == {"pending": 0, "done": {}}


async def test_none_returns_at_once_and_the_result_comes_with_a_later_call() -> None:
    host = Host()
    assert await host.call([1, "gate", None, "g"], wait="none") == {"pending": 1, "done": {}}
    await turns()
    host.gates["g"].set_result(7)
    await turns()
    assert await host.call(wait="none") == {"pending": 0, "done": {1: {"ok": 7}}}
    assert await host.call(wait="none") == {"pending": 0, "done": {}}


@pytest.mark.parametrize("timeout_ms", [0, 1, 20])
async def test_after_the_timeout_the_reply_holds_what_is_done(timeout_ms: int) -> None:
    host = Host()
    reply = await host.call([1, "gate", None, "g"], [2, "value", None, "v"], timeout_ms=timeout_ms)
    assert reply == {"pending": 1, "done": {2: {"ok": "v"}}}
    assert host.permit.parked == 0
    host.session.close()


@pytest.mark.parametrize("timeout_ms", [2**63, 2**64 - 1])
async def test_no_timeout_is_too_long(timeout_ms: int) -> None:
    host = Host()
    waiting = host.begin([1, "gate", None, "g"], timeout_ms=timeout_ms)
    await turns()
    host.gates["g"].set_result(1)
    assert (await waiting)["done"] == {1: {"ok": 1}}


async def test_cancelled_operation_is_done_as_cancelled_when_the_call_returns() -> None:
    host = Host()
    await host.call([1, "gate", None, "a"], [2, "gate", None, "b"], wait="none")
    await turns()
    reply = await host.call(cancel=[1, 77], wait="none")
    assert reply["pending"] == 1
    assert reply["done"][1]["error"]["code"] == "cancelled"
    assert host.cancelled == ["a"]
    host.session.close()


async def test_id_in_use_is_a_violation_until_its_result_was_delivered() -> None:
    host = Host()
    await host.call([1, "gate", None, "g"], wait="none")
    for op in ([1, "value", None, 1], [1, "gate", None, "h"]):
        with pytest.raises(AbiViolation, match="id 1 is in use"):
            await host.call(op)
    await turns()
    host.gates["g"].set_result(1)
    await turns()
    with pytest.raises(AbiViolation, match="in use"):
        await host.call([1, "value", None, 1])
    await host.call(wait="none")
    assert (await host.call([1, "value", None, 2]))["done"] == {1: {"ok": 2}}
    with pytest.raises(AbiViolation, match="id 5 is in use"):
        await host.call([5, "value", None, 1], [5, "value", None, 2])


async def test_reply_over_a_mebibyte_is_continued_by_the_next_call() -> None:
    host = Host()
    size = 400_000
    first = await host.call(*([n, "large", None, size] for n in range(4)))
    assert (sorted(first["done"]), first["pending"]) == ([0, 1], 2)
    second = await host.call(wait="none")
    assert (sorted(second["done"]), second["pending"]) == ([2, 3], 0)


@pytest.mark.parametrize(("size", "fits"), [((1 << 20) - 200, True), (1 << 20, False), (3 << 20, False)])
async def test_result_that_no_reply_can_hold_is_an_error(size: int, fits: bool) -> None:
    host = Host()
    result = await host.one("large", size)
    assert result == b"x" * size if fits else result[0] == "limit_exceeded"


# -- operations -------------------------------------------------------------------------------------------


async def test_unknown_operation_and_unknown_binding() -> None:
    host = Host()
    assert await host.code("no.such") == "unknown_operation"
    assert await host.code("stream.no_such") == "unknown_operation"
    for binding in ("NOT_THERE", "OTHER", "", None, 7, ["THING"], {"a": 1}, b"THING"):
        assert await host.code("bound", binding=binding) == "unknown_binding"
    assert await host.one("bound", binding="THING") == "lent"


async def test_operations_over_the_limit_fail_alone_and_name_it() -> None:
    host = Host(Limits(operations=3))
    for n in range(3):
        assert await host.one("value", n) == n
    code, message = await host.one("value", 3)
    assert code == "limit_exceeded"
    assert "3 host operations" in message
    assert "limits.operations" in message


async def test_chunks_of_bodies_are_no_operations_of_the_limit() -> None:
    """A body has as many as its size makes: a worker with the default limits reads all that a visitor may send."""
    host = Host(Limits(operations=4), Remembered())
    stream = await host.one("stream.open")
    await host.one("response.start", 200, [])
    for _ in range(20):
        assert await host.one("stream.write", stream, b"chunk") is None
        assert await host.one("stream.read", stream, 5) == b"chunk"
        assert await host.one("response.write", b"chunk") is None
    assert await host.one("value", 1) == 1
    assert await host.one("response.end") is None
    assert await host.code("value", 2) == "limit_exceeded"


async def test_subrequests_over_the_limit_fail_alone() -> None:
    host = Host(Limits(subrequests=2))
    assert [await host.one("sub") for _ in range(2)] == [1, 1]
    assert await host.code("sub") == "limit_exceeded"
    assert await host.one("value", 1) == 1


async def test_so_many_operations_may_be_pending() -> None:
    host = Host()
    for start in range(0, PENDING, 64):
        await host.call(*([n, "gate", None, str(n)] for n in range(start, start + 64)), wait="none")
    assert await host.code("gate", "more") == "limit_exceeded"
    host.session.close()
    await turns()
    assert len(host.cancelled) in (0, PENDING)


@pytest.mark.parametrize("name", ["bug", "late_bug", "odd"])
async def test_bug_of_the_host_is_internal_and_tells_the_guest_nothing(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    host = Host()
    code, message = await host.one(name)
    assert code == "internal"
    assert "ours" not in message
    assert caplog.records


async def test_failing_operation_fails_alone() -> None:
    host = Host()
    reply = await host.call([1, "fails", None], [2, "value", None, "v"])
    assert reply["done"][2] == {"ok": "v"}
    assert reply["done"][1]["error"] == {"code": "not_found", "message": "not there"}


@pytest.mark.parametrize(
    ("args", "code"),
    [
        ((0,), None),
        ((1,), None),
        ((-1,), "invalid_argument"),
        ((15 * 60_000 + 1,), "invalid_argument"),
        (("1",), "invalid_argument"),
        ((1.5,), "invalid_argument"),
        ((True,), "invalid_argument"),
        ((), "invalid_argument"),
        ((1, 2), "invalid_argument"),
    ],
)
async def test_sleep_takes_milliseconds(args: tuple[object, ...], code: str | None) -> None:
    host = Host()
    result = await host.one("sleep", *args)
    assert result is None if code is None else result[0] == code


# -- streams ----------------------------------------------------------------------------------------------


async def test_stream_is_written_and_read_to_its_end() -> None:
    host = Host()
    stream = await host.one("stream.open")
    assert await host.one("stream.write", stream, b"abc") is None
    assert await host.one("stream.write", stream, "dé") is None
    assert await host.one("stream.read", stream, 2) == b"ab"
    assert await host.one("stream.read", stream, 100) == b"c"
    assert await host.one("stream.end", stream) is None
    assert await host.one("stream.read", stream, 100) == "dé".encode()
    assert await host.one("stream.read", stream, 100) is None
    assert await host.one("stream.read", stream, 100) is None
    assert await host.code("stream.write", stream, b"x") == "closed_stream"
    assert await host.code("stream.end", stream) == "closed_stream"


async def test_writes_and_the_end_in_one_call_are_kept_in_order() -> None:
    host = Host()
    stream = await host.one("stream.open")
    ops = [[n, "stream.write", None, stream, bytes([n])] for n in range(5)]
    reply = await host.call(*ops, [5, "stream.end", None, stream])
    assert all(result == {"ok": None} for result in reply["done"].values())
    read = b""
    while (data := await host.one("stream.read", stream, 100)) is not None:
        read += data
    assert read == bytes(range(5))


async def test_stream_write_waits_while_the_reader_is_slow() -> None:
    host = Host()
    stream = await host.one("stream.open")
    writing = host.begin([1, "stream.write", None, stream, b"x" * PIPE_BYTES], wait="all")
    assert (await writing)["pending"] == 0
    writing = host.begin([1, "stream.write", None, stream, b"y"], timeout_ms=1)
    assert (await writing)["pending"] == 1
    await host.one("borrow", stream)
    await host.borrowed[0].read()
    assert (await host.call(wait="any"))["done"] == {1: {"ok": None}}


async def test_stream_that_nobody_reads_takes_only_so_much() -> None:
    host = Host()
    stream = await host.one("stream.open")
    chunk = b"x" * 1_000_000
    for n in range(2):
        await host.call([n, "stream.write", None, stream, chunk], wait="none")
    assert await host.code("stream.write", stream, chunk) == "limit_exceeded"
    host.session.close()


async def test_one_read_of_a_stream_at_a_time() -> None:
    host = Host()
    stream = await host.one("stream.open")
    await host.call([1, "stream.read", None, stream, 10], wait="none")
    await turns()
    assert await host.code("stream.read", stream, 10) == "invalid_argument"
    assert await host.code("borrow", stream) == "invalid_argument"
    await host.one("stream.write", stream, b"for the first")
    assert (await host.call(wait="any"))["done"] == {1: {"ok": b"for the fi"}}
    both = await host.call(
        [2, "stream.read", None, stream, 3], [3, "stream.read", None, stream, 3], timeout_ms=0
    )
    assert both["done"][2] == {"ok": b"rst"}
    host.session.close()


@pytest.mark.parametrize("stream", [0, 2, -1, 2**63])
@pytest.mark.parametrize("name", ["stream.read", "stream.close", "stream.end", "stream.write", "borrow"])
async def test_stream_that_is_not_open_is_closed_stream(name: str, stream: int) -> None:
    host = Host()
    await host.one("stream.open")
    extra = {"stream.read": (1,), "stream.write": (b"",)}.get(name, ())
    assert await host.code(name, stream, *extra) == "closed_stream"


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("stream.read", ()),
        ("stream.read", (1,)),
        ("stream.read", (1, 0)),
        ("stream.read", (1, -5)),
        ("stream.read", ("1", 5)),
        ("stream.read", (1, 5, 5)),
        ("stream.close", ()),
        ("stream.close", ("1",)),
        ("stream.end", (None,)),
        ("stream.write", (1,)),
        ("stream.write", (1, 5)),
        ("stream.write", ([], b"")),
    ],
)
async def test_wrong_arguments_of_streams_are_told(name: str, args: tuple[object, ...]) -> None:
    host = Host()
    await host.one("stream.open")
    assert await host.code(name, *args) == "invalid_argument"


async def test_given_stream_can_not_be_read_any_more() -> None:
    host = Host()
    stream = await host.one("lend")
    await host.source.write(b"abc")
    assert await host.one("stream.read", stream, 1) == b"a"
    assert await host.one("borrow", stream) is True
    assert await host.code("stream.read", stream, 1) == "closed_stream"
    assert await host.code("borrow", stream) == "closed_stream"
    assert await host.borrowed[0].read() == b"bc"


async def test_closing_an_unfinished_stream_breaks_it_off_for_its_reader() -> None:
    host = Host()
    stream = await host.one("stream.open")
    await host.one("borrow", stream)
    await host.one("stream.write", stream, b"half")
    assert await host.one("stream.close", stream) is None
    assert await host.borrowed[0].read() == b"half"
    with pytest.raises(StreamClosed, match="before its end"):
        await host.borrowed[0].read()


async def test_so_many_streams_may_be_open() -> None:
    host = Host()
    opened = [await host.one("stream.open") for _ in range(STREAMS // 2)]
    assert await host.code("stream.open") == "limit_exceeded"
    assert await host.code("lend") == "limit_exceeded"
    await host.one("stream.close", opened[0])
    assert isinstance(await host.one("stream.open"), int)


# -- the response -----------------------------------------------------------------------------------------


async def test_response_is_streamed_in_order_even_in_one_call() -> None:
    responder = Remembered()
    host = Host(responder=responder)
    reply = await host.call(
        [1, "response.start", None, 201, [["x-a", "1"]]],
        [2, "response.write", None, b"ab"],
        [3, "response.write", None, "c"],
        [4, "response.end", None],
    )
    assert all(result == {"ok": None} for result in reply["done"].values()), reply
    assert (responder.status, bytes(responder.body), responder.ended) == (201, b"abc", True)
    assert (host.ended, host.session.response_ended) == (1, True)
    for name, args in (
        ("response.start", (200, [])),
        ("response.write", (b"",)),
        ("response.end", ()),
    ):
        assert await host.code(name, *args) == "closed_stream"


async def test_slow_visitor_holds_back_what_comes_after() -> None:
    class Slow(Remembered):
        gate: asyncio.Future[None]

        async def write(self, data: bytes) -> None:
            await self.gate
            await super().write(data)

    responder = Slow()
    responder.gate = asyncio.get_running_loop().create_future()
    host = Host(responder=responder)
    await host.one("response.start", 200, [])
    waiting = host.begin([1, "response.write", None, b"a"], [2, "response.end", None])
    await turns()
    assert not waiting.done()
    assert not responder.ended
    settled = asyncio.ensure_future(host.session.response_settled())
    await turns()
    assert not settled.done()
    responder.gate.set_result(None)
    await waiting
    await settled
    assert responder.ended


@pytest.mark.parametrize(("name", "args"), [("response.write", (b"x",)), ("response.end", ())])
async def test_start_comes_first(name: str, args: tuple[object, ...]) -> None:
    host = Host(responder=Remembered())
    code, message = await host.one(name, *args)
    assert (code, "comes first" in message) == ("invalid_argument", True)


async def test_response_starts_once() -> None:
    host = Host(responder=Remembered())
    await host.one("response.start", 200, [])
    assert await host.code("response.start", 200, []) == "invalid_argument"


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("response.start", ()),
        ("response.start", (200,)),
        ("response.start", ("200", [])),
        ("response.start", (99, [])),
        ("response.start", (True, [])),
        ("response.start", (200, {})),
        ("response.start", (200, [["a"]])),
        ("response.start", (200, [["connection", "close"]])),
        ("response.start", (200, [["transfer-encoding", "chunked"]])),
        ("response.start", (200, [["a", "b\r\nx: y"]])),
        ("response.start", (200, [["a b", "c"]])),
    ],
)
async def test_wrong_start_is_told_and_may_be_tried_again(name: str, args: tuple[object, ...]) -> None:
    host = Host(responder=Remembered())
    assert await host.code(name, *args) == "invalid_argument"
    assert await host.one("response.start", 200, []) is None
    assert await host.code("response.write", 5) == "invalid_argument"


async def test_end_that_fails_has_not_ended_the_response() -> None:
    class Short(Remembered):
        async def end(self) -> None:
            raise TenantError("shorter than its content-length")

    host = Host(responder=Short())
    await host.one("response.start", 200, [])
    assert await host.code("response.end") == "invalid_argument"
    assert (host.session.response_ended, host.ended) == (False, 0)


async def test_visitor_who_left_is_closed_stream() -> None:
    class Gone(Remembered):
        async def start(self, status: int, headers: Headers) -> None:
            raise StreamClosed("the visitor left")

    host = Host(responder=Gone())
    assert await host.code("response.start", 200, []) == "closed_stream"


@pytest.mark.parametrize(
    ("name", "args"),
    [("response.start", (200, [])), ("response.write", (b"",)), ("response.end", ())],
)
async def test_event_without_a_visitor_has_no_response(name: str, args: tuple[object, ...]) -> None:
    assert await Host().code(name, *args) == "invalid_argument"


# -- the end ----------------------------------------------------------------------------------------------


async def test_close_cancels_what_is_pending_and_closes_every_stream() -> None:
    host = Host()
    closed: list[str] = []

    class Source:
        def __init__(self, name: str, fail: bool = False) -> None:
            self.name = name
            self.fail = fail

        async def read(self) -> bytes:
            return b"x"

        def close(self) -> None:
            closed.append(self.name)
            if self.fail:
                raise ValueError("a bug in a source")

    session = host.session
    session.lend_stream(Source("kept", fail=True))
    session.borrow_stream(session.lend_stream(Source("given")))
    session.close_later(lambda: closed.append("later"))
    written = await host.one("stream.open")
    await host.one("borrow", written)
    await host.call([1, "gate", None, "a"], [2, "gate", None, "b"], wait="none")
    await turns()
    session.close()
    await turns()
    assert sorted(closed) == ["given", "kept", "later"]
    assert sorted(host.cancelled) == ["a", "b"]


async def test_stop_waiting_ends_a_wait_and_gives_the_permit_back() -> None:
    host = Host()
    waiting = host.begin([1, "gate", None, "a"])
    await turns()
    assert host.permit.parked == 1
    host.session.stop_waiting()
    assert (await waiting)["pending"] == 1
    assert host.permit.parked == 0
    host.session.close()


async def test_cancelled_wait_gives_the_permit_back() -> None:
    host = Host()
    waiting = host.begin([1, "gate", None, "a"])
    await turns()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert host.permit.parked == 0
    host.session.close()


async def test_who_waits_for_the_visitor_to_leave_is_told_and_may_answer_no_more() -> None:
    responder = Remembered()
    host = Host(responder=responder)
    await host.call([1, "response.start", None, 200, []])
    waiting = host.begin([2, "visitor.left", None], [3, "visitor.left", None])
    await turns()
    assert not waiting.done()
    assert host.session.tell_visitor_left()
    assert (await waiting)["done"] == {2: {"ok": None}, 3: {"ok": None}}
    for name, args in (("response.write", ("x",)), ("response.end", ())):
        code, message = await host.one(name, *args)
        assert (code, "the visitor has left" in message) == ("closed_stream", True)
    assert await host.one("visitor.left") is None
    assert (bytes(responder.body), responder.ended) == (b"", False)


async def test_nobody_is_told_who_took_it_back() -> None:
    host = Host(responder=Remembered())
    assert not host.session.tell_visitor_left()
    await host.call([1, "visitor.left", None], wait="none")
    reply = await host.call(wait="none", cancel=[1])
    assert reply["done"][1]["error"]["code"] == "cancelled"
    assert not host.session.tell_visitor_left()
    assert not host.session.visitor_left


async def test_nobody_is_told_whose_event_is_ended() -> None:
    host = Host(responder=Remembered())
    await host.call([1, "visitor.left", None], wait="none")
    host.session.stop_waiting()
    assert not host.session.tell_visitor_left()


async def test_leaving_can_be_waited_for_where_there_is_a_visitor_until_the_response_has_ended() -> None:
    assert await Host().code("visitor.left") == "invalid_argument"
    host = Host(responder=Remembered())
    assert await host.code("visitor.left", 1) == "invalid_argument"
    reply = await host.call([1, "visitor.left", None], [2, "response.start", None, 200, []], wait="any")
    await host.call([3, "response.end", None])
    assert (reply["pending"], host.ended) == (1, 1)
    assert await host.code("visitor.left") == "closed_stream"
