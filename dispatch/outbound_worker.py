"""The way out of user workers, with an outbound worker before it: a model.capabilities.Fetcher around the gateway.

Rule of this file: a request leaves by the gateway, as its asker's, or not at all. What goes wrong with an outbound
worker (it is not there, fails, uses up its limits, finds no room) is the asker's error; nothing goes past it. An
outbound worker's own requests go straight to the gateway, so that it can't be asked about itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, NoReturn

from msgspec.structs import replace

from dispatch.hook import Hook
from dispatch.outbound_hook import run_outbound_hook
from dispatch.outbound_in_force import params_for
from dispatch.remote_worker import RemoteWorker
from dispatch.runner import TreeRunner
from model.capabilities import EventContext, Fetcher
from model.clock import monotonic_s
from model.errors import OperationError, OperationErrorCode, PlatformError
from model.messages import ByteSource, Headers, OutgoingRequest, RequestChanges, Response
from model.scripts import OutboundStep, OutboundWorker, ScriptRef

_log = logging.getLogger("tenantry.dispatch")

#: One line a cause in this time: a missing outbound worker fails every fetch of a namespace.
_QUIET_S: Final = 10.0
_CAUSES: Final = 1_024
#: Headers for which the gateway refuses a request: they are left for it.
_JUDGED: Final = frozenset({b"upgrade", b"host", b"content-length"})
_NOTHING_SENT: Final = "so nothing was sent past it"

#: An absolute URL in the one spelling that policy and connector read, or None for one that the gateway refuses.
Canonical = Callable[[str], str | None]


class OutboundWorkers:
    """`hooks`: those of this process, by name; `remote_hook` stands for one of another process."""

    def __init__(
        self,
        gateway: Fetcher,
        runner: TreeRunner,
        canonical: Canonical,
        hooks: Mapping[str, Hook],
        remote_hook: Callable[[str], RemoteWorker] | None = None,
    ) -> None:
        self._gateway = gateway
        self._runner = runner
        self._canonical = canonical
        self._hooks = hooks
        self._remote_hook = remote_hook
        self._told: dict[str, float] = {}

    def fetch(self, request: OutgoingRequest, context: EventContext) -> Coroutine[Any, Any, Response]:
        """As the gateway's, whose coroutine it gives where nobody is asked."""
        worker, asker = context.outbound_worker, context.asker
        if worker is None:
            if asker is None:
                return self._gateway.fetch(request, context)
            step = OutboundStep(str(ScriptRef(context.namespace, context.script)), "fetch")
            return self._gateway.fetch(request, replace(asker, outbound_step=step))
        if asker is not None:
            return self._refuse(request)
        return self.ask(worker, request, context)

    async def _refuse(self, request: OutgoingRequest) -> Response:
        _let_go(request)
        raise OperationError(
            OperationErrorCode.DENIED,
            "an outbound worker called this worker, and one is in force for it too: it has no way out now",
        )

    async def ask(self, worker: OutboundWorker, request: OutgoingRequest, asker: EventContext) -> Response:
        """The answer to a request of `asker`: the outbound worker's, or the upstream's. Raises OperationError."""
        url = self._canonical(request.url)
        if url is None:
            return await self._gateway.fetch(request, asker)  # which says what is wrong with it
        body = request.body
        unread = None if body is None or isinstance(body, bytes) else _Unread(body)
        headers = _for_the_upstream(request.headers)
        asked = OutgoingRequest(request.method, url, headers, body if unread is None else unread)
        try:
            answer = await self._answer(worker, asked, asker, params_for(worker, asker))
        except OperationError as error:
            _let_go(asked)
            self._failed(worker, error)
        except PlatformError as error:
            _let_go(asked)
            self._tell(worker, error.detail or error.message)
            raise OperationError(
                OperationErrorCode.UNAVAILABLE,
                f"the platform's outbound worker can't be asked now, {_NOTHING_SENT}; try again later",
            ) from error
        except BaseException:
            _let_go(asked)
            raise
        if isinstance(answer, Response):
            return answer
        more = answer.of(asked) if isinstance(answer, RequestChanges) else answer
        if unread is not None and (unread.begun or more.body is not unread):
            _let_go(asked)
        if unread is not None and unread.begun and more.body is unread:
            self._failed(
                worker,
                OperationError(
                    OperationErrorCode.WORKER_FAILED,
                    "it let a request go on of whose body it had read a part",
                ),
            )
        step = OutboundStep(str(worker), "continue")
        return await self._gateway.fetch(more, replace(asker, outbound_step=step))

    async def _answer(
        self, worker: OutboundWorker, asked: OutgoingRequest, asker: EventContext, params: Mapping[str, str]
    ) -> Response | RequestChanges | OutgoingRequest:
        if worker.script is not None:
            found = self._runner.find(worker.script)
            return await self._runner.run_outbound(found, worker, asked, asker, params)
        hook = self._hooks.get(worker.hook or "")
        if hook is not None:
            its = replace(asker, outbound_step=OutboundStep(str(worker), "fetch"))
            return await run_outbound_hook(hook, asked, params, lambda more: self._gateway.fetch(more, its))
        if self._remote_hook is None:
            raise OperationError(OperationErrorCode.WORKER_NOT_FOUND, "--hooks has no such hook")
        remote = self._remote_hook(worker.hook or "")
        return await self._runner.run_outbound(remote, worker, asked, asker, params)

    def _failed(self, worker: OutboundWorker, error: OperationError) -> NoReturn:
        """Raise what the asker may know: the outbound worker's own words are for the operator."""
        match error.code:
            case OperationErrorCode.WORKER_NOT_FOUND:
                self._tell(worker, error.message)
                code, what = OperationErrorCode.UNAVAILABLE, "is not there"
            case OperationErrorCode.WORKER_FAILED:
                self._tell(worker, error.message)
                code, what = OperationErrorCode.WORKER_FAILED, "failed"
            case OperationErrorCode.LOAD_SHED:
                code, what = OperationErrorCode.LOAD_SHED, "found no room to run"
            case _:
                raise error
        raise OperationError(code, f"the platform's outbound worker {what}, {_NOTHING_SENT}") from error

    def _tell(self, worker: OutboundWorker, cause: str) -> None:
        line, now = f"{worker}: {cause}", monotonic_s()
        if now - self._told.get(line, float("-inf")) < _QUIET_S:
            return
        if len(self._told) >= _CAUSES:
            self._told.clear()
        self._told[line] = now
        _log.warning("outbound worker %s", line)


class _Unread:
    """A request's body on its way to an outbound worker: whether any of it was taken is known."""

    __slots__ = ("_source", "begun")

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self.begun = False

    def read(self) -> Coroutine[Any, Any, bytes]:
        self.begun = True
        return self._source.read()

    def close(self) -> None:
        self._source.close()


def _for_the_upstream(headers: Headers) -> Headers:
    """Without Connection and what it names: the gateway would drop those, also what the outbound worker adds."""
    named = {
        token.strip().lower()
        for name, value in headers
        if name == b"connection"
        for token in value.split(b",")
    }
    if not named:
        return headers
    gone = (named | {b"connection"}) - _JUDGED
    return [header for header in headers if header[0] not in gone]


def _let_go(request: OutgoingRequest) -> None:
    if request.body is not None and not isinstance(request.body, bytes):
        request.body.close()
