"""Traces cross isolation groups through control, which believes of a group's process only what the store says, too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from cli.tail_link import MOST_TRACES, hand_over, take_over
from model.errors import PlatformFault
from model.scripts import ScriptRef, ScriptVersion
from processes.channel import ChannelError
from tests.bindings.test_tail_delivery import OWN, PLAIN, version
from tests.dispatch.test_group_calls import ref

SHOP = replace(version(ref("prod/shop"), handler="fetch"), tail_consumers=("tail",))
#: Runs in another group than the one that asks.
FAR = replace(version(ref("prod/far"), handler="fetch"), tail_consumers=("tail",))
SILENT = version(ref("prod/silent"), handler="fetch")
RIVALS = replace(version(ref("prod/rivals"), "rival", handler="fetch"), tail_consumers=("tail",))


def item(script: str, namespace: str | None = "prod") -> dict[str, object]:
    return {"scriptName": script, "dispatchNamespace": namespace, "logs": []}


def payload(*items: object, to: ScriptRef = OWN, **changed: object) -> dict[str, object]:
    return {"namespace": to.namespace, "script": to.script, "traces": list(items), "hops": 3, **changed}


class Control:
    def __init__(self, *scripts: ScriptVersion) -> None:
        self.scripts = {each.ref: each for each in scripts}
        self.triggered: list[tuple[ScriptRef, str, Mapping[str, Any]]] = []
        self.outcome = "ok"

    async def trigger(self, of: ScriptRef, kind: str, event: Mapping[str, Any]) -> Mapping[str, Any]:
        self.triggered.append((of, kind, event))
        return {"outcome": self.outcome}

    async def take(self, asked: object) -> bool:
        return await take_over(asked, self.scripts.get, lambda script: script.ref != FAR.ref, self.trigger)


@pytest.mark.parametrize(("outcome", "ended_well"), [("ok", True), ("exception", False)])
async def test_traces_reach_a_process_of_the_consumer_s_group(outcome: str, ended_well: bool) -> None:
    control = Control(version(OWN), SHOP)
    control.outcome = outcome

    async def request(kind: str, asked: object, timeout_s: float) -> object:
        assert (kind, timeout_s > 30) == ("tail", True)
        return await control.take(asked)

    assert await hand_over(request, OWN, [item("shop"), item("shop")], 3) is ended_well
    event = {"traces": [item("shop"), item("shop")], "hops": 3}
    assert control.triggered == [(OWN, "tail", event)]


async def test_only_traces_of_scripts_that_run_there_and_name_the_consumer_are_told() -> None:
    control = Control(version(OWN), SHOP, FAR, SILENT, RIVALS)
    strange = [item(name) for name in ("far", "silent", "rivals", "gone")]
    assert await control.take(payload(*strange, item("shop"), 7, item("shop", None)))
    assert control.triggered[0][2]["traces"] == [item("shop")]
    with pytest.raises(ChannelError, match="no script of that group names"):
        await control.take(payload(*strange))
    # A plain script of that name is not who the namespace's scripts name, while there is their own.
    control.scripts[PLAIN] = version(PLAIN)
    with pytest.raises(ChannelError, match="no script of that group names"):
        await control.take(payload(item("shop"), to=PLAIN))
    del control.scripts[OWN]
    assert await control.take(payload(item("shop"), to=PLAIN))


@pytest.mark.parametrize(
    "asked",
    [
        None,
        [],
        {},
        payload(traces=7),
        payload(item("shop"), hops=-1),
        payload(item("shop"), hops="3"),
        payload(item("shop"), script=7),
        payload(item("shop"), namespace=7),
        payload({"scriptName": 7, "dispatchNamespace": "prod"}),
        payload({}),
    ],
)
async def test_what_is_no_batch_is_refused(asked: object) -> None:
    control = Control(version(OWN), SHOP)
    with pytest.raises(ChannelError):
        await control.take(asked)
    assert control.triggered == []


async def test_a_batch_is_bounded() -> None:
    control = Control(version(OWN), SHOP)
    assert await control.take(payload(*[item("shop")] * (MOST_TRACES + 1)))
    assert len(control.triggered[0][2]["traces"]) == MOST_TRACES


async def test_a_batch_that_nobody_ran_is_a_fault() -> None:
    async def request(kind: str, asked: object, timeout_s: float) -> object:
        raise ChannelError("gone")

    with pytest.raises(PlatformFault):
        await hand_over(request, OWN, [item("shop")], 0)
