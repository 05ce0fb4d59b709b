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
from dispatch.group_outbound import Ask, Standing, answer_asker, asker_of, is_known, stands
from dispatch.handover import (
    AnswerHead,
    Answering,
    NoMessage,
    Question,
    encode,
    parse_question,
    result_of_ending,
    result_of_error,
    result_of_operation,
)
from dispatch.responses import AsgiResponder
from dispatch.route_index import RouteIndex
from dispatch.runner import TreeRunner, no_entry
from dispatch.workers import Workers
from model.capabilities import EventContext
from model.errors import (
    LoadShed,
    OperationError,
    PlatformError,
    PlatformFault,
    UpstreamError,
    VisitorError,
)
from model.identity import RayId, TenantId
from model.isolation import DEFAULT_GROUP, IsolationGroups
from model.messages import Entry, StreamClosed
from model.outcome import EventOutcome
from model.scripts import BindingKind, ScriptRef, ScriptVersion
from model.tasks import in_task
from runtime.metering import Ending

_log = logging.getLogger("tenantry.dispatch")

#: Whose share of the room an outbound hook takes.
_HOOKS: Final = TenantId("platform")
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
        ask: Ask,
        standing: Standing,
    ) -> None:
        """`ask` asks an outbound worker here; `standing` says which there are."""
        self._groups = groups
        self._group = group
        self._index = index
        self._workers = workers
        self._runner = runner
        self._admission = admission
        self._ask = ask
        self._standing = standing
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
            if question.asks:
                result = await self._run_asked(exchange, question)
            else:
                result = await self._run(exchange, question, trusted=from_group is None)
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

    async def _run(self, exchange: Answering, question: Question, *, trusted: bool) -> bytes:
        ref = question.ref
        version = self._version(question)
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
        permit = await self._admit(version.tenant, question.depth, worker.expected_bytes)
        budget = question.budget_within(worker.fetch_limits)
        try:
            asker = asker_of(question, self._index, permit)
            holds = stands(question, version, asker, trusted)
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
                None,
                holds.worker,
                holds.asker,
                question.egress_hosts,
                budget=budget,
                http_protocol=question.http_protocol,
                untraced=question.untraced,
            )
            ending = await worker.fetch(
                question.request(body), responder, context, question.params, question.limits, visitor
            )
        finally:
            try:
                if self._runner.has_tree(permit):
                    await self._runner.wait_for_tree(permit)
            finally:  # also when it is cancelled while it waits
                permit.release()
        return result_of_ending(ending, budget)

    async def _run_asked(self, exchange: Answering, question: Question) -> bytes:
        """An outbound worker, for one whose worker runs in the process that asks."""
        tenant = _HOOKS if question.hook else self._version(question).tenant
        body = exchange if question.body_follows else question.body
        visitor = _Far(exchange)
        responder = AsgiResponder(_send_over(exchange), question.method, question.ray_id, visitor)
        permit = await self._admit(tenant, question.depth)
        task = await in_task()

        def leave() -> None:
            task.cancel()

        visitor.on_leave = leave
        try:
            asker = asker_of(question, self._index, permit)
            if asker is None:
                raise NoMessage("an outbound worker is asked, and for nobody")
            await answer_asker(question, body, asker, self._ask, responder)
            return result_of_ending(Ending(EventOutcome.OK))
        except OperationError as error:
            return result_of_operation(error)
        except (StreamClosed, UpstreamError) as error:
            return result_of_ending(Ending(EventOutcome.RESPONSE_STREAM_DISCONNECTED, str(error)))
        except asyncio.CancelledError:
            if not exchange.cancelled or task.uncancel() > 0:
                raise
            return result_of_ending(Ending(EventOutcome.CANCELED))
        finally:
            visitor.on_leave = None
            try:
                if self._runner.has_tree(permit):
                    await self._runner.wait_for_tree(permit)
            finally:
                permit.release()

    def _version(self, question: Question) -> ScriptVersion:
        ref = question.ref
        version = self._index.script(ref)
        if version is None or no_entry(version, question.entry) is not None:
            raise VisitorError(
                "there is no worker here", detail=f"{ref} is not there, or has not what is asked for"
            )
        if self._group != DEFAULT_GROUP and self._groups.group_of(version) != self._group:
            # Between two looks at the store its tags changed, or the other process makes this up.
            raise LoadShed(_ELSEWHERE)
        return version

    async def _admit(self, tenant: TenantId, depth: int, expected: int = 0) -> Permit:
        permit = self._admission.try_admit(tenant, expected)
        if permit is not None:
            return permit
        if depth:
            # A tree holds sandboxes in the process that asks: if it waited here, and another the other way
            # round, both would wait for ever.
            raise LoadShed("no room for another sandbox in the processes of that worker")
        return await self._admission.wait_admit(tenant, expected)

    def _check_call(self, question: Question, from_group: str) -> None:
        """That a worker of that group may call what it says it calls, or ask it. Raises VisitorError."""
        ref, caller_ref = question.ref, question.caller
        caller = None if caller_ref is None else self._index.script(caller_ref)
        target = self._index.script(ref)
        if (
            caller is None
            or self._groups.group_of(caller) != from_group
            or question.depth < 1
            or not is_known(question, self._standing)
            or not (question.asks or (target is not None and is_bound(caller, target, question.entry)))
        ):
            raise VisitorError(
                "there is no worker here",
                detail=f"a process of group {from_group} called {ref} as {caller_ref}, which nothing of it leads to",
            )


def is_bound(caller: ScriptVersion, target: ScriptVersion, entry: Entry | None = None) -> bool:
    """Whether a service binding of `caller` leads to `target`, and to this `entry` of it, or a dispatch namespace does,
    which has no entry points. Pure.
    """
    if caller.account != target.account:
        return False
    ref: ScriptRef = target.ref
    for spec in caller.bindings:
        if spec.kind is BindingKind.SERVICE:
            wanted = (None, None) if entry is None else (entry.name, entry.props)
            leads_there = spec.target == ref.script and ref.namespace in (None, caller.ref.namespace)
            if leads_there and (spec.entrypoint, spec.props) == wanted:
                return True
        elif spec.kind is BindingKind.DISPATCH_NAMESPACE and entry is None and spec.target == ref.namespace:
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
