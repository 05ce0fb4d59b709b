"""`tenantry doctor` on a running host: what holds each process now, and a warning where something does not."""

from __future__ import annotations

from typing import Any

import pytest

from cli.checks import State, check_process

HELD: dict[str, Any] = {
    "no_new_privs": True,
    "seccomp": True,
    "capabilities": "0x1e0",
    "uid": 0,
    "held": ["no_new_privs", "landlock 7 (files, tcp, scope)", "seccomp"],
    "missing": [],
}


def row(**changes: Any) -> dict[str, Any]:
    return {"name": "control", "state": "running", "confinement": HELD | changes}


def test_a_process_that_is_held_is_well_and_its_walls_are_named() -> None:
    check = check_process(row())
    assert (check.name, check.state, check.fix) == ("process control", State.OK, "")
    assert check.detail == (
        "running: no_new_privs, seccomp, landlock 7 (files, tcp, scope), capabilities 0x1e0, uid 0"
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"no_new_privs": False}, "may gain privileges"),
        ({"seccomp": False}, "all system calls"),
        ({"missing": ["landlock (the kernel has none)"], "held": []}, "no landlock"),
        ({"missing": ["landlock (the kernel has none)"]}, "without landlock (the kernel has none)"),
    ],
)
def test_whatever_does_not_hold_it_is_a_warning(changes: dict[str, Any], words: str) -> None:
    check = check_process(row(**changes))
    assert check.state is State.WARNING
    assert words in check.detail
    assert "--confinement" in check.fix


def test_a_process_that_is_not_there_is_a_warning() -> None:
    gone = {"name": "worker-0", "state": "back-off", "confinement": {"held": [], "missing": []}}
    check = check_process(gone)
    assert (check.state, check.detail) == (State.WARNING, "back-off; not there to be looked at")
