"""What a process asks the kernel to hold it to, for ever: after start-up, before it touches what is hostile.

A second wall behind the sandbox: whoever breaks out of wasmtime or out of the compiler finds a process that
can do little. What each kind of process gives up is in `processes.profiles`. Each step is taken where the
kernel allows, and what could not be had is told. Source: prctl(2), capabilities(7), landlock(7), seccomp(2).
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from processes import kernel, landlock, seccomp
from processes.landlock import FileRule
from processes.syscalls import MACHINES

_PR_SET_PDEATHSIG: Final = 1
_PR_CAPBSET_READ: Final = 23
_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
_CAP_SETPCAP: Final = 8

#: Values of the setting: nothing; what the kernel allows; all of it, or no start.
MODES: Final = ("on", "off", "require")


class ConfinementMissing(Exception):
    """The mode is "require", and something can't be had. The message names it."""


@dataclass(frozen=True, slots=True)
class KernelOffer:
    """`landlock_abi` 0: none. `filters`: of system calls, on a machine whose numbers we know."""

    landlock_abi: int
    filters: bool


@dataclass(frozen=True, slots=True)
class Profile:
    """What a kind of process gives up."""

    kind: str
    syscalls: seccomp.Filter
    #: All that may be opened; None: whatever the user may.
    files: Sequence[FileRule] | None = None
    #: The ABI of Landlock from which on that can be had: below it files are left alone.
    files_since: int = 1
    no_tcp: int = 0
    #: To which it may connect all the same.
    connect_ports: Sequence[int] = ()
    #: Signals and abstract sockets to processes outside are denied too.
    alone: bool = False
    #: Bits of capabilities that stay, of those that are held.
    capabilities: int = 0
    #: User and group to become, when this one is root.
    identity: int | None = None
    #: With whom it ends: to be asked for again after a change of user.
    parent: int | None = None


@dataclass(frozen=True, slots=True)
class InForce:
    """What holds this process now, in words, and what was wanted but could not be had."""

    held: tuple[str, ...]
    missing: tuple[str, ...]

    def __str__(self) -> str:
        without = f"; without {', '.join(self.missing)}" if self.missing else ""
        return ", ".join(self.held or ("nothing",)) + without


def offered() -> KernelOffer:
    return KernelOffer(landlock.abi(), kernel.MACHINE in MACHINES and kernel.has_filters())


def confine(profile: Profile, mode: str, offer: KernelOffer | None = None) -> InForce:
    """Apply `profile` to this process, which should have one thread: Landlock and capabilities hold a thread
    and what it starts. Nothing is undone when a later step fails. Raises ConfinementMissing in mode "require".
    """
    if mode == "off":
        _end_with_parent(profile)
        return InForce((), ("anything: --confinement is off",))
    offer = offer or offered()
    others = _other_threads()
    held: list[str] = []
    missing: list[str] = []
    # In this order: Landlock opens the paths of its rules as who we were; the filter comes last, since it
    # may deny the others' calls.
    steps: list[tuple[str, Callable[[], tuple[str, ...]]]] = [
        ("no_new_privs", _gain_nothing),
        ("landlock", lambda: _hold_to_files(profile, offer.landlock_abi)),
        ("no capabilities", lambda: _drop_capabilities(profile)),
        ("the end with its parent", lambda: _end_with_parent(profile)),
        ("seccomp", lambda: _filter_calls(profile, offer.filters)),
    ]
    for name, take in steps:
        try:
            held += take()
        except OSError as error:
            missing.append(f"{name} ({error.strerror})")
    if profile.files is not None and 0 < offer.landlock_abi < profile.files_since:
        missing.append(
            f"landlock over files (its ABI is {offer.landlock_abi}, {profile.files_since} is needed)"
        )
    if others and profile.files is not None:
        missing.append(f"landlock on {others} threads that ran before")
    if missing and mode == "require":
        raise ConfinementMissing(f"{profile.kind}: this kernel does not give {', '.join(missing)}")
    return InForce(tuple(held), tuple(missing))


def _other_threads() -> int:
    try:
        return len(os.listdir("/proc/self/task")) - 1
    except OSError:
        return threading.active_count() - 1  # without /proc: Python's own, at least


def _gain_nothing() -> tuple[str, ...]:
    no_new_privileges()
    return ("no_new_privs",)


def _hold_to_files(profile: Profile, abi: int) -> tuple[str, ...]:
    if abi < 1:
        raise OSError(errno.ENOSYS, "the kernel has none")
    files = profile.files if abi >= profile.files_since else None
    words = landlock.restrict(
        abi,
        files=files,
        no_tcp=profile.no_tcp,
        alone=profile.alone,
        connect_ports=profile.connect_ports,
    )
    return (f"landlock {abi} ({', '.join(words)})",) if words else ()


def _drop_capabilities(profile: Profile) -> tuple[str, ...]:
    keep, held = profile.capabilities, kernel.held_capabilities()
    for number in range(64):
        try:
            if not kernel.prctl(_PR_CAPBSET_READ, number):
                continue
            if not keep >> number & 1 and held >> _CAP_SETPCAP & 1:
                kernel.prctl(_PR_CAPBSET_DROP, number)
        except OSError as error:
            if error.errno == errno.EINVAL:
                break  # past the last capability of this kernel
            raise
    kernel.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    words = []
    if profile.identity is not None and os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(profile.identity, profile.identity, profile.identity)
        os.setresuid(profile.identity, profile.identity, profile.identity)
        words.append(f"uid {profile.identity}")
    keep &= kernel.held_capabilities()
    kernel.hold_capabilities(keep)
    return (*words, f"capabilities {keep:#x}" if keep else "no capabilities")


def _end_with_parent(profile: Profile) -> tuple[str, ...]:
    if profile.parent is not None:
        die_with_parent(profile.parent)
    return ()


def _filter_calls(profile: Profile, available: bool) -> tuple[str, ...]:
    if not available:
        raise OSError(errno.ENOSYS, "the kernel has none, or no numbers are known for this machine")
    seccomp.install(profile.syscalls)
    return ("seccomp",)


def die_with_parent(parent_pid: int) -> None:
    """From now on SIGKILL comes when the process (its thread, in fact) that started this one ends.

    SIGKILL, since what was acknowledged survives it, and a process without its supervisor would keep its
    port and its place in the data folder. `parent_pid` is who should be the parent: if it has died before
    we could ask, this process ends here. A change of user ends the arrangement.
    """
    kernel.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGKILL)


def no_new_privileges() -> None:
    """No exec from here on gains privileges (set-uid, file capabilities), in children neither."""
    kernel.prctl(_PR_SET_NO_NEW_PRIVS, 1)


def no_core_dumps() -> None:
    """Memory holds keys and tenants' data; a core file would keep them."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def raise_file_limit() -> int:
    """Descriptors as many as the hard limit allows (a connection each); the number that is now allowed."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
