"""Events that another process hands over to this one: run here, answered there.

A process of an isolation group answers what the processes at the door hand over. Those answer what a group's
workers call; since such a process may be in a tenant's hands, they first look up that the calling worker is of
that group and has a binding to what it calls.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, MutableMapping
from typing import Any, Final

from dispatch.admission import Admission, Permit
from dispatch.handover import (
    AnswerHead,
    Answering,
    NoMessage,
    Question,
    encode,
    parse_question,
    result_of_ending,
    result_of_error,
)
from dispatch.responses import AsgiResponder
from dispatch.route_index import RouteIndex
from dispatch.runner import TreeRunner
from dispatch.workers import Workers
from model.capabilities import EventContext
from model.errors import LoadShed, PlatformError, PlatformFault, VisitorError
from model.identity import RayId
from model.isolation import DEFAULT_GROUP, IsolationGroups
from model.scripts import BindingKind, ScriptRef, ScriptVersion

_log = logging.getLogger("tenantry.dispatch")

_ELSEWHERE: Final = "this worker has just moved to other processes; try again"


class GroupCalls:
    """`group`: whose processes this one is of."""

    def __init__(
        self,
        groups: IsolationGroups,
        group: str,
        index: RouteIndex,
        workers: Workers,
        runner: TreeRunner,
        admission: Admission,
    ) -> None:
        self._groups = groups
        self._group = group
        self._index = index
        self._workers = workers
        self._runner = runner
        self._admission = admission
        self._tasks: set[asyncio.Task[None]] = set()

    def answer(self, exchange: Answering, payload: bytes, *, from_group: str | None) -> None:
        """Begin to answer, in a task. `from_group`: whose workers call; None: a process at the door asks."""
        task = asyncio.get_running_loop().create_task(self._answer(exchange, payload, from_group))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @property
    def running(self) -> int:
        return len(self._tasks)

    async def _answer(self, exchange: Answering, payload: bytes, from_group: str | None) -> None:
        try:
            question = parse_question(payload)
            if from_group is not None:
                self._check_call(question, from_group)
            result = await self._run(exchange, question)
        except NoMessage as error:
            _log.error("another process handed over what is no event: %s", error)
            result = result_of_error(PlatformFault("the platform's processes did not understand each other"))
        except PlatformError as error:
            if error.detail:
                _log.warning("handed over, and refused: %s (%s)", error.message, error.detail)
            result = result_of_error(error)
        except Exception:
            # A bug of ours must cost this event, not leave its visitor waiting.
            _log.exception("an event that was handed over failed")
            result = result_of_error(PlatformFault("the platform failed to run this worker"))
        exchange.finish(result)

    async def _run(self, exchange: Answering, question: Question) -> bytes:
        ref = question.ref
        version = self._index.script(ref)
        if version is None or "fetch" not in version.handlers:
            raise VisitorError("there is no worker here", detail=f"{ref} is not there, or has no `fetch`")
        if self._group != DEFAULT_GROUP and self._groups.group_of(version) != self._group:
            # Between two looks at the store its tags changed, or the other process makes this up.
            raise LoadShed(_ELSEWHERE)
        worker = self._workers.get(ref)
        if worker is None:
            raise VisitorError("there is no worker here", detail=f"{ref} went away just now")
        body = exchange if question.body_follows else question.body
        visitor = _Far(exchange)
        responder = AsgiResponder(
            _send_over(exchange),
            question.method,
            question.ray_id,
            visitor,
            worker.fetch_limits.response_header_bytes,
        )
        permit = await self._admit(version, question.depth)
        try:
            context = EventContext(
                version.account,
                ref.namespace,
                ref.script,
                version.version,
                version.tenant,
                version.tags,
                RayId(question.ray_id),
                question.depth,
                permit,
                question.outbound_params,
                question.client_ip,
                question.hops,
            )
            ending = await worker.fetch(
                question.request(body), responder, context, question.params, question.limits, visitor
            )
            return result_of_ending(ending)
        finally:
            try:
                if self._runner.has_tree(permit):
                    await self._runner.wait_for_tree(permit)
            finally:  # also when it is cancelled while it waits
                permit.release()

    async def _admit(self, version: ScriptVersion, depth: int) -> Permit:
        permit = self._admission.try_admit(version.tenant)
        if permit is not None:
            return permit
        if depth:
            # A tree holds sandboxes in the process that asks: if it waited here, and another the other way
            # round, both would wait for ever.
            raise LoadShed("no room for another sandbox in the processes of that worker")
        return await self._admission.wait_admit(version.tenant)

    def _check_call(self, question: Question, from_group: str) -> None:
        """That a worker of that group may call what it says it calls. Raises VisitorError."""
        ref, caller_ref = question.ref, question.caller
        caller = None if caller_ref is None else self._index.script(caller_ref)
        target = self._index.script(ref)
        if (
            caller is None
            or target is None
            or self._groups.group_of(caller) != from_group
            or not is_bound(caller, target)
            or question.depth < 1
        ):
            raise VisitorError(
                "there is no worker here",
                detail=f"a process of group {from_group} called {ref} as {caller_ref}, which has no binding to it",
            )


def is_bound(caller: ScriptVersion, target: ScriptVersion) -> bool:
    """Whether a service binding or a dispatch namespace of `caller` leads to `target`. Pure."""
    if caller.account != target.account:
        return False
    ref: ScriptRef = target.ref
    for spec in caller.bindings:
        if spec.kind is BindingKind.SERVICE:
            if spec.target == ref.script and ref.namespace in (None, caller.ref.namespace):
                return True
        elif spec.kind is BindingKind.DISPATCH_NAMESPACE and spec.target == ref.namespace:
            return True
    return False


class _Far:
    """The Visitor behind another process."""

    __slots__ = ("_exchange",)

    def __init__(self, exchange: Answering) -> None:
        self._exchange = exchange

    @property
    def left(self) -> bool:
        return self._exchange.cancelled

    @left.setter
    def left(self, value: bool) -> None:
        self._exchange.cancelled = value

    @property
    def on_leave(self) -> Callable[[], None] | None:
        return self._exchange.on_cancel

    @on_leave.setter
    def on_leave(self, value: Callable[[], None] | None) -> None:
        self._exchange.on_cancel = value


def _send_over(exchange: Answering) -> Callable[[MutableMapping[str, Any]], Any]:
    """ASGI's `send`, as frames: the beginning and the end of a short answer travel in one write."""

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            exchange.send_head(encode(AnswerHead(message["status"], message["headers"])))
            return
        if body := message["body"]:
            await exchange.write(body)
        if not message.get("more_body", False):
            exchange.end()

    return send
