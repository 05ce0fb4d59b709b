"""What holds a process is told as the kernel tells it; what the kernel does not tell is the process's own word."""

from __future__ import annotations

import os

from processes.in_force import KernelView, describe, kernel_view, parse_status

STATUS = "Name:\tx\nUid:\t0\t65533\t0\t0\nCapEff:\t00000000000001e0\nNoNewPrivs:\t1\nSeccomp:\t2\n"


def test_status_is_read_as_proc_writes_it() -> None:
    assert parse_status(STATUS) == KernelView(True, True, 0x1E0, 65533)


def test_what_a_kernel_leaves_out_is_not_in_force() -> None:
    assert parse_status("Name:\tx\n") == KernelView(False, False, 0, -1)
    assert not parse_status(
        STATUS.replace("Seccomp:\t2", "Seccomp:\t1")
    ).seccomp  # its strict mode is not ours


def test_this_process_is_seen_and_one_that_is_not_there_is_not() -> None:
    view = kernel_view(os.getpid())
    assert view is not None
    assert view.uid == os.geteuid()
    assert kernel_view(2**22 + 1) is None


def test_a_process_is_shown_with_both_words() -> None:
    reported = {"name": "worker-0", "pid": 7, "told": [["seccomp", "landlock 7 (files)"], ["x"]]}
    assert describe(reported, parse_status(STATUS)) == {
        "name": "worker-0",
        "pid": 7,
        "confinement": {
            "held": ["seccomp", "landlock 7 (files)"],
            "missing": ["x"],
            "no_new_privs": True,
            "seccomp": True,
            "capabilities": "0x1e0",
            "uid": 65533,
        },
    }


def test_a_process_that_is_gone_or_has_said_nothing_is_shown_without() -> None:
    assert describe({"name": "w", "told": None}, None) == {
        "name": "w",
        "confinement": {"held": [], "missing": []},
    }
