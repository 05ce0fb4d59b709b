"""What is said when a process hands an event over to a process of another isolation group: the values, checked.

Either side may be in a tenant's hands, so every field has a type and a bound here; whose worker it is, its
limits and its rights are never taken from a message but from the store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Final, Protocol, TypeVar, cast

import msgspec
from msgspec import Meta

from model.call_egress import EgressHosts
from model.capabilities import EventContext
from model.errors import LoadShed, OperationError, OperationErrorCode, PlatformError, PlatformFault
from model.identity import NamespaceName, ScriptName
from model.limits import Limits
from model.messages import Body, ByteSource, Client, Entry, Header, IncomingRequest
from model.outcome import EventOutcome
from model.scripts import OutboundWorker, ScriptRef
from model.tree_budget import TreeBudget
from runtime.metering import Ending

#: A body up to this goes with the request; a longer one is asked for when the worker reads it.
INLINE_BYTES: Final = 512 * 1024

_T = TypeVar("_T")
_Name = Annotated[str, Meta(max_length=63)]
_Text = Annotated[str, Meta(max_length=2_000)]
_ParamName = Annotated[str, Meta(max_length=256)]
#: An outbound worker is told who asks, besides what its asker was given.
_Params = Annotated[dict[_ParamName, str], Meta(max_length=128)]
_ParamNames = Annotated[list[_ParamName], Meta(max_length=64)]
_Headers = Annotated[list[tuple[bytes, bytes]], Meta(max_length=1_024)]
_Count = Annotated[int, Meta(ge=0, le=1 << 50)]


class Outbound(msgspec.Struct, array_like=True):
    """A model.scripts.OutboundWorker."""

    namespace: _Name | None
    script: _Name | None
    hook: _Name | None
    params: _ParamNames | None

    @staticmethod
    def of(worker: OutboundWorker) -> Outbound:
        script = worker.script
        return Outbound(
            None if script is None else script.namespace,
            None if script is None else script.script,
            worker.hook,
            None if worker.params is None else list(worker.params),
        )

    @property
    def worker(self) -> OutboundWorker:
        params = None if self.params is None else tuple(self.params)
        if self.script is None:
            return OutboundWorker(None, self.hook, params)
        return OutboundWorker(_ref(self.namespace, self.script), None, params)


class Entered(msgspec.Struct, array_like=True):
    """A model.messages.Entry."""

    name: Annotated[str, Meta(max_length=512)] | None
    props: Annotated[str, Meta(max_length=8_192)] | None
    call: Annotated[str, Meta(max_length=512)] | None

    @staticmethod
    def of(entry: Entry) -> Entered:
        return Entered(entry.name, entry.props, entry.call)

    @property
    def entry(self) -> Entry:
        return Entry(self.name, self.props, self.call)


class Question(msgspec.Struct, array_like=True):
    """A request for `script`, as routing or a calling worker made it. `caller_…`: of a worker's call, who.

    `outbound` and `asker_…` are as in EventContext. `asks`: the caller is the asker, and `script` (or with `hook`,
    the hook of that name) its outbound worker: it is asked, as `outbound`, and what it lets go on leaves there.
    """

    namespace: _Name | None
    script: _Name
    method: Annotated[str, Meta(max_length=256)]
    url: str
    hostname: Annotated[str, Meta(max_length=300)]
    path: str
    headers: _Headers
    body: bytes | None
    body_follows: bool
    content_length: _Count | None
    client_ip: Annotated[str, Meta(max_length=64)]
    tls: bool
    ray_id: Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
    depth: Annotated[int, Meta(ge=0, le=16)]
    hops: Annotated[int, Meta(ge=0, le=1_000)]
    params: _Params
    outbound_params: _Params
    limits: dict[_Name, _Count] | None
    caller_namespace: _Name | None
    caller_script: _Name | None
    outbound: Outbound | None = None
    asker_namespace: _Name | None = None
    asker_script: _Name | None = None
    asks: bool = False
    hook: bool = False
    egress: Annotated[list[Annotated[str, Meta(max_length=300)]], Meta(max_length=2_048)] | None = None
    #: `limits` are what is left of its caller's, for it and what it calls by service bindings together.
    shares_budget: bool = False
    entered: Entered | None = None
    http_protocol: Annotated[str, Meta(max_length=16)] = ""
    untraced: bool = False

    @property
    def entry(self) -> Entry | None:
        return None if self.entered is None else self.entered.entry

    @property
    def egress_hosts(self) -> EgressHosts | None:
        return None if self.egress is None else tuple(self.egress)

    @property
    def ref(self) -> ScriptRef:
        return _ref(self.namespace, self.script)

    @property
    def caller(self) -> ScriptRef | None:
        return None if self.caller_script is None else _ref(self.caller_namespace, self.caller_script)

    @property
    def asker(self) -> ScriptRef | None:
        return None if self.asker_script is None else _ref(self.asker_namespace, self.asker_script)

    def budget_within(self, limits: Limits) -> TreeBudget | None:
        """What its caller shared with it; `limits` are the worker's own."""
        if not self.shares_budget:
            return None
        given = {
            name: value for name, value in (self.limits or {}).items() if name in ("cpu_ms", "subrequests")
        }
        return TreeBudget(replace(limits, **given))

    def request(self, body: Body) -> IncomingRequest:
        return IncomingRequest(
            self.method,
            self.url,
            self.hostname,
            self.path,
            self.headers,
            body,
            self.content_length,
            Client(self.client_ip, self.tls, self.ray_id, self.http_protocol),
            self.entry,
        )


def _ref(namespace: str | None, script: str) -> ScriptRef:
    return ScriptRef(NamespaceName(namespace) if namespace else None, ScriptName(script))


class AnswerHead(msgspec.Struct, array_like=True):
    status: Annotated[int, Meta(ge=200, le=599)]
    headers: _Headers


class Result(msgspec.Struct, array_like=True):
    """How it ended. `refused`: it never ran; what follows is the PlatformError that says why. `operation`: it is
    the asker's `fetch` that failed, with this code and message.
    """

    outcome: EventOutcome
    message: _Text
    refused: bool = False
    status: Annotated[int, Meta(ge=400, le=599)] = 500
    code: Annotated[int, Meta(ge=0, le=9_999)] = 0
    retry_after_s: Annotated[int, Meta(ge=0, le=3_600)] | None = None
    operation: OperationErrorCode | None = None
    #: What was used of a budget that was shared with it.
    cpu_ns: Annotated[int, Meta(ge=0)] = 0
    subrequests: Annotated[int, Meta(ge=0)] = 0

    def ending(self) -> Ending:
        return Ending(self.outcome, self.message)

    def error(self) -> PlatformError:
        if self.outcome is EventOutcome.LOAD_SHED:
            return LoadShed(self.message, retry_after_s=self.retry_after_s or 1)
        return PlatformFault(self.message, outcome=self.outcome, status=self.status, code=self.code)


_question = msgspec.msgpack.Decoder(Question)
_head = msgspec.msgpack.Decoder(AnswerHead)
_result = msgspec.msgpack.Decoder(Result)
encode = msgspec.msgpack.Encoder().encode


class NoMessage(ValueError):
    """The other process sent something that is no message of ours."""


def question_of(
    ref: ScriptRef,
    request: IncomingRequest,
    context: EventContext,
    params: Mapping[str, str],
    limits: Mapping[str, int] | None,
    *,
    hook: bool = False,
) -> bytes:
    body = request.body
    follows = body is not None and body_follows(body)
    caller, asker, outbound = context.caller, context.asker, context.outbound_worker
    return encode(
        Question(
            ref.namespace,
            ref.script,
            request.method,
            request.url,
            request.hostname,
            request.path,
            request.headers if isinstance(request.headers, list) else list(request.headers),
            None if follows else cast("bytes | None", body),
            follows,
            request.content_length,
            request.client.ip,
            request.client.tls,
            context.ray_id,
            context.depth,
            context.hops,
            dict(params),
            dict(context.outbound_params),
            dict(limits) if limits else None,
            None if caller is None else caller.namespace,
            None if caller is None else caller.script,
            None if outbound is None else Outbound.of(outbound),
            None if asker is None else asker.namespace,
            None if asker is None else asker.script,
            asker is not None and asker is caller,
            hook,
            None if context.egress_hosts is None else list(context.egress_hosts),
            context.budget is not None,
            None if request.entry is None else Entered.of(request.entry),
            context.http_protocol,
            context.untraced,
        )
    )


def body_follows(body: bytes | ByteSource) -> bool:
    """Whether it is sent after the question, when it is asked for, instead of in it."""
    return not isinstance(body, bytes) or len(body) > INLINE_BYTES


def parse_question(payload: bytes) -> Question:
    """Raises NoMessage."""
    return _parse(_question, payload)


def parse_head(payload: bytes) -> tuple[int, list[Header]]:
    """Raises NoMessage."""
    head = _parse(_head, payload)
    return head.status, head.headers


def parse_result(payload: bytes) -> Result:
    """Raises NoMessage."""
    return _parse(_result, payload)


def result_of_error(error: PlatformError) -> bytes:
    status = error.status if 400 <= error.status <= 599 else 500
    return encode(Result(error.outcome, error.message[:2_000], True, status, error.code, error.retry_after_s))


def result_of_operation(error: OperationError) -> bytes:
    return encode(Result(EventOutcome.EXCEPTION, error.message[:2_000], operation=error.code))


def result_of_ending(ending: Ending, budget: TreeBudget | None = None) -> bytes:
    """`budget`: what was shared with it."""
    result = Result(ending.outcome, ending.message[:2_000])
    if budget is not None:
        result.cpu_ns, result.subrequests = budget.spent_ns, budget.subrequests
    return encode(result)


def _parse(decoder: msgspec.msgpack.Decoder[_T], payload: bytes) -> _T:
    try:
        return decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NoMessage(str(error)) from None


class Asking(Protocol):
    """The asking end of an exchange with another process: processes.exchange.Exchange."""

    async def head(self) -> bytes | None:
        """The beginning of the answer, None when it ended without one. Raises ProcessLost."""

    async def result(self) -> bytes:
        """Raises ProcessLost."""

    async def read(self) -> bytes:
        """Of the answer's body; b"" at its end. Raises StreamClosed, ProcessLost."""

    async def wanted(self) -> None:
        """Returns when the question's body is asked for. Raises StreamClosed when it never will be."""

    async def write(self, data: bytes) -> None:
        """Of the question's body. Raises StreamClosed when nobody wants it."""

    def end(self) -> None: ...

    def break_off(self, why: str) -> None: ...

    def cancel(self) -> None:
        """The visitor has left. The result comes all the same."""

    def lose(self) -> None:
        """Wait no more."""

    @property
    def is_here(self) -> bool:
        """All of the answer's body has come."""

    def take(self) -> bytes:
        """All of it that was not read."""


class Answering(Protocol):
    """The answering end."""

    #: Nobody waits for the answer any more; `on_cancel` is called when that comes about.
    cancelled: bool
    on_cancel: Callable[[], None] | None

    def send_head(self, payload: bytes) -> None: ...

    async def write(self, data: bytes) -> None:
        """Raises StreamClosed when nobody waits for it any more."""

    def end(self) -> None: ...

    def finish(self, payload: bytes) -> None: ...

    async def read(self) -> bytes: ...

    def close(self) -> None: ...
