"""A dispatch hook chooses the worker, its limits and params; whatever it does wrong becomes a page."""

from __future__ import annotations

import asyncio
import logging

import pytest

from dispatch.admission import Admission
from dispatch.hook import Dispatcher, HookEnv, InvalidHook, load_hook
from model.capabilities import CallOptions, EventContext
from model.errors import OperationError, OperationErrorCode, PlatformError
from model.identity import DEFAULT_ACCOUNT, NamespaceName, RayId, ScriptName, TenantId, VersionId
from model.messages import Client, Header, IncomingRequest, OutgoingRequest, Response
from model.scripts import ScriptRef


class Runner:
    """A WorkerRunner with one worker, `acme`, that remembers how it was called."""

    def __init__(self, error: OperationError | None = None) -> None:
        self.calls: list[tuple[ScriptRef, OutgoingRequest, CallOptions]] = []
        self.error = error

    async def run(
        self, ref: ScriptRef, request: OutgoingRequest, caller: EventContext, options: CallOptions
    ) -> Response:
        await asyncio.sleep(0)
        if self.error:
            raise self.error
        if ref.script != "acme":
            raise OperationError(OperationErrorCode.WORKER_NOT_FOUND, f"Worker not found: {ref.script}")
        self.calls.append((ref, request, options))
        return Response(201)


async def run(
    function: str, *headers: Header, runner: Runner | None = None, deadline_s: float = 60.0
) -> Response:
    permit = Admission().try_admit("platform")
    assert permit is not None
    context = EventContext(
        DEFAULT_ACCOUNT,
        None,
        ScriptName("hook"),
        VersionId("1"),
        TenantId("platform"),
        (),
        RayId("0"),
        0,
        permit,
    )
    request = IncomingRequest(
        "GET", "http://a.example/x", "a.example", "/x", headers, None, None, Client("", False, "0")
    )
    hook = load_hook("front", f"tests.dispatch.hooks:{function}", deadline_s)
    return await hook.run(
        request, HookEnv(Dispatcher(runner or Runner(), NamespaceName("production"), context))
    )


async def test_a_hook_calls_the_worker_that_it_chose_with_limits_and_params() -> None:
    runner = Runner()
    response = await run("by_header", (b"x-tenant", b"acme"), runner=runner)
    assert response.status == 201
    [(called, request, options)] = runner.calls
    assert (str(called), request.method, request.url) == ("production/acme", "GET", "http://a.example/x")
    assert options == CallOptions({"cpu_ms": 40}, {"plan": "free"}, {"to": "acme"})


async def test_a_hook_narrows_what_the_worker_may_send() -> None:
    runner = Runner()
    await run("narrowed", runner=runner)
    assert runner.calls[0][2] == CallOptions(egress_hosts=("api.example.com",))


@pytest.mark.parametrize(
    ("function", "headers", "status", "detail"),
    [
        ("by_header", [(b"x-tenant", b"nobody")], 404, "Worker not found: nobody"),
        ("by_header", [(b"x-tenant", b"../other")], 404, "Worker not found: script name"),
        ("by_header", [], 500, "KeyError"),
        ("narrowed_to_everything", [], 500, "narrows nothing"),
        ("too_slow", [], 504, "not done within 0.02 s"),
        ("answers_nothing", [], 500, "returned NoneType; a Response is right"),
    ],
)
async def test_failures_become_pages(function: str, headers: list[Header], status: int, detail: str) -> None:
    with pytest.raises(PlatformError) as failed:
        # A busy machine may hold the others up for longer than this.
        await run(function, *headers, deadline_s=0.02 if status == 504 else 60.0)
    assert failed.value.status == status
    assert detail in failed.value.detail
    assert "KeyError" not in failed.value.message  # what a visitor may see


@pytest.mark.parametrize(
    ("code", "status"), [(OperationErrorCode.LOAD_SHED, 503), (OperationErrorCode.WORKER_FAILED, 500)]
)
async def test_operations_that_fail_become_pages(code: OperationErrorCode, status: int) -> None:
    with pytest.raises(PlatformError) as failed:
        await run("by_header", (b"x-tenant", b"acme"), runner=Runner(OperationError(code, "why")))
    assert failed.value.status == status


async def test_a_hook_that_holds_the_loop_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        await run("holds_the_loop")
    assert "front held the event loop" in caplog.text


async def test_a_hooks_own_timeouts_work() -> None:
    assert (await run("catches_timeouts_of_its_own")).status == 203


async def test_cancelling_reaches_the_hook() -> None:
    running = asyncio.create_task(run("too_slow"))
    await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("tests.dispatch.hooks", "is no module:function"),
        ("tests.dispatch.hooks:", "is no module:function"),
        ("tests.dispatch.hooks:a.b", "is no module:function"),
        ("tests.dispatch.nowhere:f", "can't be imported: ModuleNotFoundError"),
        ("tests.dispatch.hooks:missing", "is no `async def missing"),
        ("tests.dispatch.hooks:NOT_A_FUNCTION", "is no `async def"),
        ("tests.dispatch.hooks:not_async", "is no `async def"),
        ("tests.dispatch.hooks:of_three", r"takes no \(request, env\)"),
    ],
)
def test_a_hook_that_can_not_be_loaded_says_why_at_the_start(spec: str, why: str) -> None:
    with pytest.raises(InvalidHook, match=f"hook front: .*{why}"):
        load_hook("front", spec)
