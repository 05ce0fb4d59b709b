"""The processes of a running host are held by the kernel, and serve all the same (the other files' tests)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from processes.confinement import offered
from tests.acceptance.platform import Platform, wait_until

OFFER = offered()


def status(pid: int) -> dict[str, str]:
    lines = (line.partition(":") for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {name: value.strip() for name, _, value in lines}


def threads(pid: int) -> list[int]:
    return [int(path.name) for path in Path(f"/proc/{pid}/task").iterdir()]


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.skipif(not OFFER.filters, reason="this kernel has no seccomp filters")
def test_every_thread_of_every_worker_process_is_confined(platform: Platform) -> None:
    for worker in platform.workers():
        found = threads(worker)
        assert len(found) > 1  # the engine's ticker, at least
        for thread in found:
            try:
                held = status(thread)
            except FileNotFoundError:
                continue  # it has ended
            assert (held["NoNewPrivs"], held["Seccomp"], held["CapEff"]) == ("1", "2", "0" * 16)


@pytest.mark.skipif(not OFFER.filters, reason="this kernel has no seccomp filters")
def test_control_is_confined_and_keeps_what_compile_children_need(platform: Platform) -> None:
    [control] = set(children(platform.supervisor_pid)) - set(platform.workers())
    held = status(control)
    assert (held["NoNewPrivs"], held["Seccomp"]) == ("1", "2")
    # As root: end, and become, somebody else; drop what could be gained. Otherwise nothing.
    assert int(held["CapEff"], 16) == (0x1E0 if os.geteuid() == 0 else 0)


@pytest.mark.skipif(not OFFER.filters, reason="this kernel has no seccomp filters")
def test_the_supervisor_is_confined(platform: Platform) -> None:
    held = status(platform.supervisor_pid)
    assert (held["NoNewPrivs"], held["Seccomp"]) == ("1", "2")
    # As control, and low ports: its listeners are opened again after a back-off.
    assert int(held["CapEff"], 16) == (0x5E0 if os.geteuid() == 0 else 0)


@pytest.mark.skipif(not OFFER.filters or not OFFER.landlock_abi, reason="this kernel gives less")
def test_each_process_says_what_holds_it(platform: Platform) -> None:

    def said(kind: str) -> list[str]:
        return [
            line for line in platform.log().splitlines() if '"tenantry.confinement"' in line and kind in line
        ]

    for kind in ("worker process", "control process", "compile child", "supervisor"):
        # Control is ready before its first compile child is.
        wait_until(lambda: bool(said(kind)))  # noqa: B023 - it waits here
        of_kind = said(kind)
        words = ["seccomp"] if kind == "supervisor" else ["seccomp", "landlock"]
        assert all(word in line and "without" not in line for line in of_kind for word in words)
