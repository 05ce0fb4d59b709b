"""A filter says of each call of each machine what its rules say: run here on a small interpreter of BPF."""

from __future__ import annotations

import errno
import os
import struct
import threading
from pathlib import Path

import pytest

from processes import kernel, profiles
from processes.seccomp import ALLOW, KILL, Filter, Rule, assemble, refuse
from processes.syscalls import MACHINES, NEWEST, NUMBERS, number

EPERM, ENOSYS = refuse(errno.EPERM), refuse(errno.ENOSYS)
CLONE_THREAD, SIGCHLD = 0x10000, 17


def answer(program: bytes, call: int, arguments: tuple[int, ...] = (), architecture: int = 0) -> int:
    """What the kernel would do, as linux/filter.h says; a jump out of the program is an error."""
    data = struct.pack("<iIQ6Q", call, architecture, 0, *[*arguments, 0, 0, 0, 0, 0, 0][:6])
    steps = list(struct.iter_unpack("=HBBI", program))
    at = accumulator = 0
    while True:
        code, if_true, if_false, operand = steps[at]
        at += 1
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", data, operand)
            case 0x54:
                accumulator &= operand
            case 0x15:
                at += if_true if accumulator == operand else if_false
            case 0x35:
                at += if_true if accumulator >= operand else if_false
            case 0x06:
                return int(operand)
            case _:
                raise AssertionError(f"no such instruction: {code:#x}")


def ask(given: Filter, machine: str, name: str, *arguments: int) -> int:
    wanted = number(name, machine)
    assert wanted is not None
    return answer(assemble(given, machine), wanted, arguments, MACHINES[machine][1])


@pytest.fixture(params=sorted(MACHINES))
def machine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


SMALL = Filter(
    [Rule("read", ALLOW), Rule("socket", ALLOW, 0, (2, 10)), Rule("clone", ALLOW, 0, (0x100,), mask=0x100)],
    default=EPERM,
    unknown=ENOSYS,
)


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("read", (), ALLOW),
        ("write", (), EPERM),
        ("socket", (2,), ALLOW),
        ("socket", (10, 1, 6), ALLOW),
        ("socket", (1,), EPERM),
        ("socket", (1, 2), EPERM),  # the second argument is another
        ("clone", (0x100,), ALLOW),
        ("clone", (0x17F,), ALLOW),
        ("clone", (0x11,), EPERM),
    ],
)
def test_rule_looks_at_its_argument(
    machine: str, name: str, arguments: tuple[int, ...], expected: int
) -> None:
    assert ask(SMALL, machine, name, *arguments) == expected


def test_calls_beyond_the_table_are_unknown(machine: str) -> None:
    program, architecture = assemble(SMALL, machine), MACHINES[machine][1]
    assert answer(program, NEWEST, architecture=architecture) == EPERM
    assert answer(program, NEWEST + 1, architecture=architecture) == ENOSYS


def test_calls_of_another_abi_end_the_process(machine: str) -> None:
    program = assemble(SMALL, machine)
    other = next(arch for name, (_, arch) in MACHINES.items() if name != machine)
    read = number("read", machine)
    assert read is not None
    assert answer(program, read, architecture=other) == KILL
    assert answer(program, read | 0x4000_0000, architecture=MACHINES[machine][1]) == KILL  # x32


@pytest.mark.parametrize("name", ["ptrace", "mount", "bpf", "execve", "unshare", "io_uring_setup", "keyctl"])
def test_what_breaks_out_is_denied_to_workers_and_compile_children(machine: str, name: str) -> None:
    for profile in (profiles.compile_child(), profiles.worker((), Path("/"))):
        assert ask(profile.syscalls, machine, name) == EPERM


def test_threads_may_be_started_and_processes_not(machine: str) -> None:
    for profile in (profiles.compile_child(), profiles.worker((), Path("/"))):
        assert ask(profile.syscalls, machine, "clone", CLONE_THREAD | 0x3D0F00) == ALLOW
        assert ask(profile.syscalls, machine, "clone", SIGCHLD) == EPERM
        assert ask(profile.syscalls, machine, "clone3") == ENOSYS
    assert ask(profiles.control(Path("/")).syscalls, machine, "clone", SIGCHLD) == ALLOW


def test_signals_go_to_oneself(machine: str) -> None:
    for profile in (profiles.compile_child(), profiles.worker((), Path("/"))):
        assert ask(profile.syscalls, machine, "kill", os.getpid()) == ALLOW
        for other in (os.getppid(), 1, 0, -1 & (1 << 64) - 1):
            assert ask(profile.syscalls, machine, "kill", other) == EPERM


def test_filters_fit_the_kernel_and_name_known_calls(machine: str) -> None:
    for profile in (
        profiles.compile_child(),
        profiles.worker((), Path("/")),
        profiles.control(Path("/")),
    ):
        assert len(assemble(profile.syscalls, machine)) // 8 <= 4096  # BPF_MAXINSNS
        names = [rule.name for rule in profile.syscalls.rules]
        assert len(names) == len(set(names)), "only the first rule of a name would count"
        assert set(names) <= set(NUMBERS)


def test_numbers_of_a_machine_are_distinct_and_within_the_table() -> None:
    for place, _ in MACHINES.values():
        numbers = [found for row in NUMBERS.values() if (found := row[place]) is not None]
        assert len(numbers) == len(set(numbers))
        assert max(numbers) <= NEWEST


def test_numbers_are_those_of_this_machine() -> None:
    for name in ("getpid", "getppid", "getuid", "getegid", "gettid"):
        ask_python = threading.get_native_id if name == "gettid" else getattr(os, name)
        assert kernel.call(name) == ask_python()
