"""Traces for a tail consumer that runs in another isolation group: a worker process hands them to control, and control
to a process of the consumer's group.

The process that hands them over may be in a tenant's hands, so control looks up of each that its script runs there and
names this consumer; what a trace says of it is the tenant's own tale anyway.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from bindings.tail_delivery import consumer_of
from bindings.trace_items import Item
from model.errors import PlatformFault
from model.identity import NamespaceName, ScriptName
from model.scripts import ScriptRef, ScriptVersion
from processes.channel import ChannelError

#: As long as a tail handler may run, and the way there.
HANDOVER_S: Final = 60.0
#: Of one batch.
MOST_TRACES: Final = 200
MOST_HOPS: Final = 1_000

#: (what is asked, its payload, its time limit) → the answer. Raises ChannelError.
Request = Callable[[str, object, float], Awaitable[object]]
#: Run an event in a process of the script's group.
Trigger = Callable[[ScriptRef, str, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]


async def hand_over(request: Request, ref: ScriptRef, items: Sequence[Item], hops: int) -> bool:
    """Of a worker process: whether the consumer's handler ended well. Raises PlatformFault when nobody ran it."""
    wanted = {"namespace": ref.namespace, "script": ref.script, "traces": list(items), "hops": hops}
    try:
        return bool(await request("tail", wanted, HANDOVER_S))
    except ChannelError as error:
        raise PlatformFault(f"{ref} could not be told", detail=str(error)) from error


async def take_over(
    payload: object,
    script: Callable[[ScriptRef], ScriptVersion | None],
    runs_there: Callable[[ScriptVersion], bool],
    trigger: Trigger,
) -> bool:
    """Of control. `runs_there`: whether a script runs in the group of the process that asks. Raises ChannelError."""
    if not isinstance(payload, Mapping) or not isinstance(payload.get("traces"), Sequence):
        raise ChannelError("tail: a map with traces is expected")
    hops = payload.get("hops")
    if not isinstance(hops, int) or not 0 <= hops <= MOST_HOPS:
        raise ChannelError("tail: hops are counted")
    consumer = _ref(payload.get("namespace"), payload.get("script"))
    known: dict[ScriptRef, bool] = {}

    def is_told(item: object) -> bool:
        if not isinstance(item, Mapping):
            return False
        producer = _ref(item.get("dispatchNamespace"), item.get("scriptName"))
        if producer not in known:
            known[producer] = _names(script, script(producer), consumer, runs_there)
        return known[producer]

    items = [item for item in payload["traces"][:MOST_TRACES] if is_told(item)]
    if not items:
        raise ChannelError(f"tail: no script of that group names {consumer}")
    answer = await trigger(consumer, "tail", {"traces": items, "hops": hops})
    return answer.get("outcome") == "ok"


def _names(
    script: Callable[[ScriptRef], ScriptVersion | None],
    producer: ScriptVersion | None,
    consumer: ScriptRef,
    runs_there: Callable[[ScriptVersion], bool],
) -> bool:
    if producer is None or consumer.script not in producer.tail_consumers or not runs_there(producer):
        return False
    found = consumer_of(script, producer.account, producer.ref.namespace, producer.tenant, consumer.script)
    return found == consumer


def _ref(namespace: object, script: object) -> ScriptRef:
    if not isinstance(script, str) or not isinstance(namespace, str | None):
        raise ChannelError("tail: a script's name is expected")
    return ScriptRef(NamespaceName(namespace) if namespace else None, ScriptName(script))
