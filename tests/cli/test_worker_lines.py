"""Rule: a worker process tells of workers of its group alone, and a trace is told in the sources of its own script."""

from __future__ import annotations

import pytest

from cli.worker_lines import WorkerLines
from model.identity import AccountId, NamespaceName, ScriptName, TenantId, VersionId
from model.isolation import parse_groups
from model.scripts import ScriptRef, ScriptVersion
from observability.log_ring import LogRings

ACME = ScriptRef(NamespaceName("acme"), ScriptName("a"))
PLAIN = ScriptRef(None, ScriptName("b"))
FIRST, SECOND, THIRD = ("1" * 64, "2" * 64, "3" * 64)


class Control:
    """What is deployed, and the lines that are kept."""

    def __init__(self, groups: str = "vip:namespace=acme") -> None:
        self.deployed = {ACME: ("acme", FIRST), PLAIN: ("plain", SECOND)}
        self.rings = LogRings()
        self.lines = WorkerLines(self.rings, parse_groups(groups), self.script)

    def script(self, ref: ScriptRef) -> ScriptVersion | None:
        if ref not in self.deployed:
            return None
        tenant, digest = self.deployed[ref]
        handlers = frozenset({"fetch"})
        return ScriptVersion(AccountId("default"), ref, TenantId(tenant), VersionId("1"), digest, handlers)

    def say(self, group: str, ref: ScriptRef, module: str = "") -> None:
        self.lines.take(group, [[1, 1, "said", "0" * 16, ref.namespace, ref.script, "t", module]])

    def modules(self, ref: ScriptRef) -> list[str]:
        return [line.module for line in self.rings.read(ref)[0]]


@pytest.fixture
def control() -> Control:
    return Control()


def test_a_process_puts_no_words_into_the_log_of_another_group_s_script(control: Control) -> None:
    control.say("vip", PLAIN)
    control.say("default", ACME)
    assert (control.modules(ACME), control.modules(PLAIN)) == ([], [])
    control.say("vip", ACME)
    control.say("default", PLAIN)
    assert (control.modules(ACME), control.modules(PLAIN)) == ([""], [""])


def test_a_process_can_not_name_another_script_s_module(control: Control) -> None:
    for module in (FIRST, SECOND, THIRD):
        control.say("vip", ACME, module)
    assert control.modules(ACME) == [FIRST, "", ""]


def test_events_of_the_version_before_are_told_in_its_sources(control: Control) -> None:
    control.say("vip", ACME, FIRST)
    control.deployed[ACME] = ("acme", THIRD)
    control.say("vip", ACME, FIRST)
    control.say("vip", ACME, THIRD)
    assert control.modules(ACME) == [FIRST, FIRST, THIRD]


def test_what_was_another_tenant_s_of_that_name_is_not_its_own(control: Control) -> None:
    control.say("vip", ACME, FIRST)
    control.deployed[ACME] = ("somebody else", THIRD)
    control.say("vip", ACME, FIRST)
    control.say("vip", ACME, THIRD)
    assert control.modules(ACME) == [FIRST, "", THIRD]


def test_a_script_that_is_gone_has_no_module(control: Control) -> None:
    del control.deployed[PLAIN]
    control.say("default", PLAIN, SECOND)
    assert control.modules(PLAIN) == [""]


def test_without_groups_every_process_runs_every_script() -> None:
    control = Control("")
    control.say("default", ACME, THIRD)
    assert control.modules(ACME) == [THIRD]


def test_what_is_no_line_is_left_out(control: Control) -> None:
    control.lines.take("vip", 7)
    control.lines.take("vip", [7, [], [1, 1, "said", "0" * 16, "acme", "a", "t", "no digest"]])
    control.say("vip", ACME)
    assert control.modules(ACME) == [""]
