"""An app's first step is taken without a task; what waits goes on in one, as if it had been in it from the start."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest

from edge.first_step import FirstSteps
from model.tasks import in_task
from tests.edge.conftest import StartServer, hello

_VAR: contextvars.ContextVar[str] = contextvars.ContextVar("of_a_request", default="")


class Steps:
    def __init__(self) -> None:
        self.tasks: set[asyncio.Task[None]] = set()
        self.first = FirstSteps(self.tasks)

    def add(self, work: Any) -> None:
        self.first.add(lambda: work, asyncio.get_running_loop())

    async def taken(self) -> None:
        """Until the first steps were taken, and no further."""
        await asyncio.sleep(0)


@pytest.fixture
async def steps() -> Steps:
    return Steps()


async def test_what_does_not_wait_needs_no_task(steps: Steps) -> None:
    seen: list[object] = []

    async def work(number: int) -> None:
        seen.append((number, asyncio.current_task()))

    steps.add(work(1))
    steps.add(work(2))
    assert not seen, "the first step is taken in the loop's next turn"
    await steps.taken()
    assert seen == [(1, None), (2, None)]
    assert not steps.tasks


async def test_what_waits_goes_on_in_a_task_until_its_end(steps: Steps) -> None:
    gate: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    seen: list[object] = []

    async def work() -> None:
        seen.append(await gate)
        seen.append(asyncio.current_task())

    steps.add(work())
    await steps.taken()
    (task,) = steps.tasks
    gate.set_result("opened")  # before the task has begun to wait for it
    await task
    assert seen == ["opened", task]
    await asyncio.sleep(0)
    assert not steps.tasks


async def test_what_needs_a_task_can_ask_for_one(steps: Steps) -> None:
    seen: list[object] = []

    async def work() -> None:
        task = await in_task()
        seen.append(task is asyncio.current_task())
        assert await in_task() is task
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            seen.append("late")

    steps.add(work())
    await steps.taken()
    await asyncio.gather(*steps.tasks)
    assert seen == [True, "late"]


@pytest.mark.parametrize("begun", [True, False])
@pytest.mark.parametrize("what", ["future", "turn", "child"])
async def test_cancelling_reaches_what_it_waits_for(steps: Steps, begun: bool, what: str) -> None:
    loop = asyncio.get_running_loop()
    gate: asyncio.Future[None] = loop.create_future()
    child: asyncio.Future[Any] = loop.create_task(asyncio.sleep(60)) if what == "child" else gate
    seen: list[str] = []

    async def work() -> None:
        try:
            await (asyncio.sleep(0) if what == "turn" else child)
            if begun:
                await gate
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        finally:
            await asyncio.sleep(0)  # what is cancelled may wait once more
            seen.append("cleaned up")

    steps.add(work())
    await steps.taken()
    (task,) = steps.tasks
    if begun:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["cancelled", "cleaned up"]
    assert what != "child" or child.cancelled()


async def test_cancelling_comes_too_late_for_what_is_there(steps: Steps) -> None:
    gate: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    seen: list[str] = []

    async def work() -> None:
        try:
            seen.append(await gate)
        except asyncio.CancelledError:
            seen.append("cancelled")

    steps.add(work())
    await steps.taken()
    (task,) = steps.tasks
    gate.set_result("opened")
    task.cancel()
    await task
    assert seen == ["cancelled"]  # as a task does that is cancelled before it wakes


async def test_each_has_a_context_of_its_own_through_all_its_steps(steps: Steps) -> None:
    seen: list[str] = []

    async def work(name: str) -> None:
        seen.append(_VAR.get())
        _VAR.set(name)
        await asyncio.sleep(0)
        seen.append(_VAR.get())

    steps.add(work("a"))
    steps.add(work("b"))
    await steps.taken()
    await asyncio.gather(*steps.tasks)
    assert seen == ["", "", "a", "b"]
    assert _VAR.get() == ""


async def test_one_that_fails_takes_no_other_with_it(steps: Steps) -> None:
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
    seen: list[str] = []
    failure = RuntimeError("in the first step")

    async def fails() -> None:
        raise failure

    async def work() -> None:
        seen.append("done")

    steps.add(fails())
    steps.add(work())
    await steps.taken()
    assert told == [failure]
    await steps.taken()
    assert seen == ["done"]


async def test_what_is_added_meanwhile_takes_the_turn_after(steps: Steps) -> None:
    seen: list[int] = []

    async def work(number: int) -> None:
        seen.append(number)
        if number < 3:
            steps.add(work(number + 1))
        seen.append(number)

    steps.add(work(1))
    for number in (1, 2, 3):
        await steps.taken()
        assert seen[-2:] == [number, number], "never inside another"
    assert not steps.first


async def test_a_server_answers_so(start_server: StartServer) -> None:
    tasks: list[object] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        tasks.append(asyncio.current_task())
        if scope["path"] == "/waits":
            await asyncio.sleep(0)
            tasks.append(asyncio.current_task() is not None)
        await hello(scope, receive, send)

    served = await start_server(app, at_once=app)
    visit = await served.visit()
    await visit.send(b"GET /one HTTP/1.1\r\nHost: a\r\n\r\nGET /waits HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
    bodies = [(await visit.response())[2] for _ in range(4)]
    assert bodies == [b"/one", b"/waits"] * 2
    assert tasks == [None, None, True] * 2


@pytest.mark.parametrize(
    "head", [b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"]
)
async def test_a_whole_response_is_put_at_once_and_closes_where_it_must(
    start_server: StartServer, head: bytes
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        put = scope["extensions"]["tenantry.put_whole"]
        assert put(200, [(b"content-length", b"2")], b"ok")
        assert not put(200, [(b"content-length", b"2")], b"no"), "a response is sent once"

    served = await start_server(app, at_once=app)
    visit = await served.visit()
    await visit.send(head)
    status, sent, body = await visit.response()
    assert (status, body) == (200, b"ok")
    assert b"connection: close" in sent
    assert await visit.closed()


async def test_a_large_whole_response_comes_whole(start_server: StartServer) -> None:
    body = bytes(range(256)) * 4096

    async def app(scope: Any, receive: Any, send: Any) -> None:
        put = scope["extensions"]["tenantry.put_whole"]
        assert put(200, [(b"content-length", b"%d" % len(body))], body)

    served = await start_server(app, at_once=app)
    status, _, got = await served.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (status, got) == (200, body)


async def test_nothing_is_put_to_a_visitor_who_does_not_take_it(start_server: StartServer) -> None:
    answers: list[bool] = []
    done = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        put = scope["extensions"]["tenantry.put_whole"]
        body = bytes(1 << 22)
        headers = [(b"content-length", b"%d" % len(body))]
        answers.append(put(200, headers, body))
        if not answers[-1]:
            done.set()
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    served = await start_server(app, at_once=app)
    visit = await served.visit()
    async with asyncio.timeout(60):
        while not done.is_set():
            await visit.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await asyncio.sleep(0.001)
        for _ in answers:
            status, _, body = await visit.response()
            assert (status, len(body)) == (200, 1 << 22)
    assert answers[-1] is False
