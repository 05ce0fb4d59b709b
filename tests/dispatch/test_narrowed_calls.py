"""Rule held: what a dispatcher narrowed a call to holds for all that the worker calls in turn."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

from dispatch.admission import Admission
from dispatch.runner import TreeRunner
from dispatch.workers import Workers
from model.call_egress import EgressHosts
from model.capabilities import CallOptions, EventContext
from model.identity import AccountId, RayId, ScriptName, TenantId, VersionId
from model.limits import FETCH_LIMITS
from model.messages import OutgoingRequest
from model.outcome import EventOutcome
from model.scripts import ScriptRef, ScriptVersion
from runtime.metering import Ending
from tests.dispatch.test_group_calls import ref, version

REQUEST = OutgoingRequest("GET", "http://worker.example/", (), None)


@dataclass
class Calling:
    """A worker that calls the next one, narrowed further."""

    runner: TreeRunner
    version: ScriptVersion
    following: tuple[str, EgressHosts | None] | None
    seen: list[EgressHosts | None]
    fetch_limits: Any = field(default=FETCH_LIMITS)

    async def fetch(self, request: object, responder: Any, context: EventContext, *rest: object) -> Ending:
        self.seen.append(context.egress_hosts)
        if self.following is not None:
            name, hosts = self.following
            await self.runner.run(ref(name), REQUEST, context, CallOptions(egress_hosts=hosts))
        await responder.send_whole(200, (), b"")
        return Ending(EventOutcome.OK)


class Three:
    """a calls b with `first`, b calls c with `second`."""

    def __init__(self, first: EgressHosts | None, second: EgressHosts | None) -> None:
        self.runner = TreeRunner()
        self.runner.use(cast(Workers, self))
        self.seen: list[EgressHosts | None] = []
        self._following: dict[str, tuple[str, EgressHosts | None] | None] = {
            "a": ("b", first),
            "b": ("c", second),
            "c": None,
        }

    def get(self, wanted: ScriptRef) -> Calling:
        name = wanted.script
        return Calling(self.runner, version(name), self._following[name], self.seen)


async def narrowed_at_each(
    visitor: EgressHosts | None, first: EgressHosts | None, second: EgressHosts | None
) -> list[EgressHosts | None]:
    three = Three(first, second)
    permit = Admission().try_admit("t")
    assert permit is not None
    context = EventContext(
        AccountId("default"),
        None,
        ScriptName("front"),
        VersionId("1"),
        TenantId("t"),
        (),
        RayId("0" * 16),
        0,
        permit,
    )
    await three.runner.run(ref("a"), REQUEST, context, CallOptions(egress_hosts=visitor))
    await three.runner.wait_for_tree(permit)
    permit.release()
    return three.seen


async def test_a_worker_passes_on_what_it_was_narrowed_to() -> None:
    assert await narrowed_at_each(("a.test",), None, None) == [("a.test",)] * 3


async def test_each_dispatcher_can_only_take_away() -> None:
    wide, other = ("*.a.test", "b.test"), ("c.test", "x.a.test")
    assert await narrowed_at_each(wide, other, ()) == [wide, ("x.a.test",), ()]
    assert await narrowed_at_each(None, other, wide) == [None, other, ("x.a.test",)]
