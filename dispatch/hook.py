"""Programmable dispatch in trusted Python: the platform engineer's `async def dispatch(request, env)`.

A hook runs in the worker process, with its rights: it is the operator's code, never a tenant's. It answers
a Response, usually what `await env.dispatcher.get(name).fetch(request)` gave it.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import logging
import types
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from model.call_egress import parse_egress_hosts
from model.capabilities import CallOptions, EventContext, WorkerRunner
from model.clock import monotonic_s
from model.errors import OperationError, OperationErrorCode, PlatformError, PlatformFault, VisitorError
from model.identity import InvalidName, NamespaceName, parse_script_name
from model.messages import IncomingRequest, OutgoingRequest, Response
from model.outcome import EventOutcome
from model.scripts import ScriptRef
from model.tasks import in_task

_log = logging.getLogger(__name__)

_T = TypeVar("_T")

#: One step of a hook that keeps the loop longer than this delays everybody, and is warned of.
HELD_LOOP_S: Final = 0.050


class InvalidHook(ValueError):
    """The hook can't be loaded; the message names it and says what would be right."""


@dataclass(frozen=True, slots=True)
class Dispatcher:
    """`env.dispatcher`: the workers of one dispatch namespace."""

    runner: WorkerRunner
    namespace: NamespaceName
    caller: EventContext

    def get(
        self,
        name: str,
        params: Mapping[str, str] | None = None,
        limits: Mapping[str, int] | None = None,
        outbound: Mapping[str, str] | None = None,
        egress: Sequence[str] | None = None,
    ) -> DispatchedWorker:
        """A worker, with what this call gives it; whether it exists shows when it is fetched from. `egress`: the
        hosts (or `*.` and a name) to which it is narrowed what the worker may send. Raises InvalidHostname.
        """
        hosts = None if egress is None else parse_egress_hosts(tuple(egress))
        options = CallOptions(limits or {}, params or {}, outbound or {}, egress_hosts=hosts)
        return DispatchedWorker(self, name, options)


@dataclass(frozen=True, slots=True)
class DispatchedWorker:
    dispatcher: Dispatcher
    name: str
    options: CallOptions

    async def fetch(self, request: IncomingRequest | OutgoingRequest) -> Response:
        """Raises OperationError, as WorkerRunner.run: `worker_not_found` starts with "Worker not found"."""
        try:
            script = parse_script_name(self.name)
        except InvalidName as error:
            raise OperationError(OperationErrorCode.WORKER_NOT_FOUND, f"Worker not found: {error}") from None
        if isinstance(request, IncomingRequest):
            request = OutgoingRequest(request.method, request.url, request.headers, request.body)
        ref = ScriptRef(self.dispatcher.namespace, script)
        return await self.dispatcher.runner.run(ref, request, self.dispatcher.caller, self.options)


@dataclass(frozen=True, slots=True)
class HookEnv:
    """What a hook is lent for one request."""

    dispatcher: Dispatcher
    vars: Mapping[str, str] = field(default_factory=dict)


HookFunction = Callable[[IncomingRequest, HookEnv], Coroutine[Any, Any, Response]]


@dataclass(frozen=True, slots=True)
class Hook:
    """A loaded hook. `name` is how routes and the log call it."""

    name: str
    function: HookFunction
    deadline_s: float = 30.0

    async def run(self, request: IncomingRequest, env: HookEnv) -> Response:
        """Its response. Raises PlatformError with the page to show: 404 for a worker that isn't there,
        504 past the deadline, 503 when shed, else 500; the cause is in `detail` and in the log.
        """
        await in_task()
        try:
            async with asyncio.timeout(self.deadline_s):
                response = await watched(self.function(request, env), self.name)
        except PlatformError:
            raise
        except OperationError as error:
            raise self._failed_operation(error) from error
        except TimeoutError as error:
            raise PlatformFault(
                "dispatch took too long",
                detail=f"hook {self.name}: not done within {self.deadline_s:g} s",
                outcome=EventOutcome.EXCEEDED_WALL_TIME,
            ) from error
        except Exception as error:  # the operator's code may raise anything; the visitor gets a page
            _log.exception("dispatch hook %s failed", self.name)
            raise PlatformFault(
                "dispatch failed",
                detail=f"hook {self.name}: {type(error).__name__}: {error}",
                outcome=EventOutcome.EXCEPTION,
            ) from error
        if not isinstance(response, Response):
            raise PlatformFault(
                "dispatch failed",
                detail=f"hook {self.name} returned {type(response).__name__}; a Response is right",
                outcome=EventOutcome.EXCEPTION,
            )
        return response

    def _failed_operation(self, error: OperationError) -> PlatformError:
        detail = f"hook {self.name}: {error.code}: {error.message}"
        if error.code is OperationErrorCode.WORKER_NOT_FOUND:
            return VisitorError("there is no worker here", detail=detail)
        if error.code is OperationErrorCode.LOAD_SHED:
            return PlatformFault(
                "the platform is busy", detail=detail, outcome=EventOutcome.LOAD_SHED, retry_after_s=1
            )
        return PlatformFault("dispatch failed", detail=detail, outcome=EventOutcome.EXCEPTION)


def load_hook(name: str, spec: str, deadline_s: float = 30.0) -> Hook:
    """Import `spec`, `module:function`, once at start-up. Raises InvalidHook."""
    module_name, colon, function_name = spec.partition(":")
    if not (module_name and colon and function_name.isidentifier()):
        raise InvalidHook(f"hook {name}: {spec!r} is no module:function")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # importing runs the operator's code, which may raise anything
        raise InvalidHook(
            f"hook {name}: {module_name} can't be imported: {type(error).__name__}: {error}"
        ) from error
    function = getattr(module, function_name, None)
    if not inspect.iscoroutinefunction(function):
        raise InvalidHook(f"hook {name}: {spec} is no `async def {function_name}(request, env)`")
    try:
        inspect.signature(function).bind(None, None)
    except TypeError as error:
        raise InvalidHook(f"hook {name}: {spec} takes no (request, env): {error}") from None
    return Hook(name, function, deadline_s)


@types.coroutine
def watched(running: Coroutine[Any, Any, _T], name: str) -> Generator[Any, Any, _T]:
    """Run a coroutine, warning of each step that holds the loop. It can't be stopped in mid-step."""
    send: Callable[[Any], Any] = running.send
    value: Any = None
    while True:
        began = monotonic_s()
        try:
            awaited = send(value)
        except StopIteration as stop:
            result: _T = stop.value
            return result
        finally:
            held_s = monotonic_s() - began
            if held_s > HELD_LOOP_S:
                _log.warning("hook %s held the event loop for %.0f ms", name, held_s * 1000)
        try:
            value, send = (yield awaited), running.send
        except BaseException as error:  # cancellation and GeneratorExit too belong to the coroutine
            value, send = error, running.throw
