"""Outbound workers and isolation groups: what a question says of them, what of it is believed, how one is asked.

Whoever is asked answers for the request wholly: when the outbound worker lets it go on, it leaves from that process,
under its asker's policy as the store has it, and the response travels back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from dispatch.handover import Question
from dispatch.outbound_in_force import InForce
from dispatch.responses import AsgiResponder
from dispatch.route_index import RouteIndex
from model.capabilities import EventContext, TreePermit
from model.errors import VisitorError
from model.identity import NamespaceName, RayId
from model.messages import Body, OutgoingRequest, Response
from model.scripts import OutboundWorker, ScriptVersion

#: Who stands before a namespace (None: before any), without params.
Standing = Callable[[NamespaceName | None], frozenset[OutboundWorker]]
#: dispatch.outbound_worker.OutboundWorkers.ask.
Ask = Callable[[OutboundWorker, OutgoingRequest, EventContext], Awaitable[Response]]


def is_known(question: Question, standing: Standing) -> bool:
    """Whether a group's process may say of outbound workers what it says. It is in a tenant's hands at worst, so
    only what the store has of its caller and of its asker counts.
    """
    caller, asker = question.caller, question.asker
    if question.outbound is not None and _bare(question.outbound.worker) not in standing(None):
        return False
    # A plain script has no namespace: it is part of whoever's event called it, so any will do.
    if question.asks:
        return asker == caller and caller is not None and _asked(question) in standing(caller.namespace)
    if asker is None:
        return True
    return OutboundWorker(caller) in standing(asker.namespace)


def stands(question: Question, version: ScriptVersion, asker: EventContext | None, trusted: bool) -> InForce:
    """What holds for the event. A process at the door says all of it; a group's can't leave its namespace's out."""
    worker = None if question.outbound is None else question.outbound.worker
    if worker is None and asker is None and not trusted:
        worker = version.outbound_worker
    return InForce(worker, asker)


def asker_of(question: Question, index: RouteIndex, permit: TreePermit) -> EventContext | None:
    """For whom the event fetches, as the store has it. Raises VisitorError when it went away."""
    ref = question.asker
    if ref is None:
        return None
    version = index.script(ref)
    if version is None:
        raise VisitorError("there is no worker here", detail=f"{ref}, for which another asks, is not there")
    return EventContext(
        version.account,
        ref.namespace,
        ref.script,
        version.version,
        version.tenant,
        version.tags,
        RayId(question.ray_id),
        max(0, question.depth - 1),
        permit,
        question.outbound_params,
        question.client_ip,
        question.hops,
        egress_hosts=question.egress_hosts,
        http_protocol=question.http_protocol,
        untraced=question.untraced,
    )


async def answer_asker(
    question: Question, body: Body, asker: EventContext, ask: Ask, responder: AsgiResponder
) -> None:
    """Ask the outbound worker that the question names, here. Raises OperationError, StreamClosed, TenantError."""
    declared = question.outbound.params if question.outbound is not None else None
    worker = OutboundWorker(
        None if question.hook else question.ref,
        question.script if question.hook else None,
        None if declared is None else tuple(declared),
    )
    headers = [header for header in question.headers if header[0] != b"host"]
    request = OutgoingRequest(question.method, question.url, headers, body)
    response = await ask(worker, request, asker)
    content = response.body
    if content is None or isinstance(content, bytes):
        await responder.send_whole(response.status, response.headers, content or b"")
        return
    try:
        await responder.start(response.status, response.headers)
        while data := await content.read():
            await responder.write(data)
        await responder.end()
    finally:
        content.close()


def _asked(question: Question) -> OutboundWorker:
    return OutboundWorker(None, question.script) if question.hook else OutboundWorker(question.ref)


def _bare(worker: OutboundWorker) -> OutboundWorker:
    return OutboundWorker(worker.script, worker.hook)
