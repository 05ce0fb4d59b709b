"""What a process gave up is really gone, what it needs still works, and what could not be had is told.

Each row runs in a child, since nothing that was given up comes back.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from processes import profiles
from processes.confinement import (
    ConfinementMissing,
    InForce,
    KernelOffer,
    confine,
    offered,
)
from tests.support.children import ROOT, expect_ok, run_child

OFFER = offered()
needs_landlock = pytest.mark.skipif(OFFER.landlock_abi < 1, reason="this kernel has no Landlock")
needs_filters = pytest.mark.skipif(not OFFER.filters, reason="this kernel has no seccomp filters")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

#: Runs `attempts`, one line each, and says of each what became of it: "done", or the error's number.
TRY = """
import ctypes, errno, json, mmap, os, resource, signal, socket, ssl, sys, tempfile, threading
from pathlib import Path
from processes import profiles
from processes.confinement import KernelOffer, confine, offered
libc = ctypes.CDLL(None, use_errno=True)
parent = os.getppid()
def c(name, *args):
    if getattr(libc, name)(*args) < 0:
        raise OSError(ctypes.get_errno(), name)
def in_thread():
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
def attempt(code):
    try:
        exec(code, globals())
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"
def report(attempts):
    sys.stdout.write(json.dumps({code: attempt(code) for code in attempts}))
    sys.stdout.flush()
"""


def outcomes(setup: str, attempts: list[str]) -> dict[str, str]:
    text = expect_ok(f"{TRY}\n{setup}\nreport({attempts!r})")
    found: dict[str, str] = json.loads(text.splitlines()[-1])
    return found


COMPILE = "confine(profiles.compile_child(), 'on')"

DENIED_TO_ALL = [
    "c('ptrace', 16, parent, 0, 0)",
    "c('unshare', 0x20000000)",
    "c('mount', b'none', b'/mnt', b'tmpfs', 0, None)",
    "c('syscall', 321, 0, 0, 0)" if os.uname().machine == "x86_64" else "c('syscall', 280, 0, 0, 0)",  # bpf
    "c('process_vm_readv', parent, None, 0, None, 0, 0)",
]
DENIED_TO_UNTRUSTED = [
    *DENIED_TO_ALL,
    "os.execv('/bin/true', ['true'])",
    "os.fork()",
    "os.posix_spawn('/bin/true', ['true'], {})",
    "os.kill(parent, 0)",
    "signal.pidfd_send_signal(os.pidfd_open(os.getpid()), 0)",
    "socket.socket(socket.AF_UNIX)",
]
NEEDED_BY_ALL = [
    "in_thread()",
    "os.kill(os.getpid(), 0)",
    "os.close(os.memfd_create('image'))",
    "mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC)",
    "os.getrandom(8)",
    "signal.signal(signal.SIGUSR1, signal.SIG_IGN)",
]


@needs_filters
def test_compile_child_can_compute_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "there").touch(0o666)
    denied = [
        *DENIED_TO_UNTRUSTED,
        "socket.socket()",
        "socket.socketpair()",
        "open('/etc/passwd')",
        "open('/proc/self/maps')",
        "os.listdir('/')",
        f"open({str(tmp_path / 'there')!r}, 'a')",
        f"open({str(tmp_path / 'new')!r}, 'w')",
        f"os.mkdir({str(tmp_path / 'folder')!r})",
        f"os.unlink({str(tmp_path / 'there')!r})",
        "os.chmod('/tmp', 0o777)",
        "resource.prlimit(parent, resource.RLIMIT_CORE, (0, 0))",
        "c('prctl', 1, 0)",
    ]
    found = outcomes(COMPILE, [*denied, *NEEDED_BY_ALL])
    assert {code: found[code] for code in denied} == dict.fromkeys(denied, "EPERM")
    assert {code: found[code] for code in NEEDED_BY_ALL} == dict.fromkeys(NEEDED_BY_ALL, "done")


def test_compile_child_still_learns_which_of_its_own_pages_it_wrote_to() -> None:
    setup = f"""
from runtime.capi.guest_pages import PageMap
pages = PageMap()
{COMPILE}
area = mmap.mmap(-1, 4 * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
start = ctypes.addressof(ctypes.c_char.from_buffer(area))
area[2 * mmap.PAGESIZE] = 7
told = pages.written(start, len(area))
assert told == [(2 * mmap.PAGESIZE, mmap.PAGESIZE)], told
"""
    assert outcomes(setup, NEEDED_BY_ALL[:1]) == {NEEDED_BY_ALL[0]: "done"}


@needs_filters
def test_call_newer_than_the_table_is_answered_as_libraries_expect() -> None:
    assert outcomes(COMPILE, ["c('syscall', 1000)"]) == {"c('syscall', 1000)": "ENOSYS"}


@needs_landlock
def test_landlock_alone_keeps_a_compile_child_from_files_and_network() -> None:
    setup = "confine(profiles.compile_child(), 'on', KernelOffer(offered().landlock_abi, False))"
    denied = ["open('/etc/passwd')", "os.listdir('/')", "open('/dev/null', 'w')"]
    if OFFER.landlock_abi >= 4:
        denied += [
            "socket.socket().connect(('127.0.0.1', 1))",
            "socket.socket().bind(('127.0.0.1', 0))",
        ]
    assert outcomes(setup, denied) == dict.fromkeys(denied, "EACCES")


@needs_root
def test_compile_child_of_root_is_somebody_without_any_right() -> None:
    setup = (
        "status = open('/proc/self/status')\n" + COMPILE + "\n"
        "lines = dict(line.split(':', 1) for line in status.read().splitlines())\n"
        "assert all(int(lines[name], 16) == 0 for name in ('CapPrm', 'CapEff', 'CapInh', 'CapBnd', 'CapAmb')), lines\n"
        "assert lines['NoNewPrivs'].strip() == '1'\n"
        "assert lines['Groups'].strip() == ''\n"
        "ids = {*lines['Uid'].split(), *lines['Gid'].split()}\n"
        "assert ids == {str(profiles.COMPILE_UID)}, ids"
    )
    assert outcomes(setup, ["os.setuid(0)"]) == {"os.setuid(0)": "EPERM"}


@needs_filters
def test_control_starts_children_but_reaches_nothing_else(tmp_path: Path) -> None:
    denied = [*DENIED_TO_ALL, "socket.socket()", "socket.socket(socket.AF_UNIX)"]
    needed = [
        *NEEDED_BY_ALL,
        "os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)",
        "child = os.posix_spawn('/bin/sleep', ['sleep', '9'], {}); os.kill(child, 9); os.waitpid(child, 0)",
    ]
    if OFFER.landlock_abi >= 6:
        denied.append("os.kill(parent, 0)")
    setup = f"confine(profiles.control(Path({str(tmp_path)!r})), 'on')"
    found = outcomes(setup, [*denied, *needed])
    assert {code: found[code] for code in denied} == dict.fromkeys(denied, "EPERM")
    assert {code: found[code] for code in needed} == dict.fromkeys(needed, "done")


@needs_filters
def test_supervisor_starts_all_that_a_host_needs_and_gains_nothing(tmp_path: Path) -> None:
    """Its children have what is left to it: a worker process's sockets, a compile child's own filter."""
    needed = [
        *NEEDED_BY_ALL,
        "socket.create_server(('127.0.0.1', 0)).close()",
        "socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)",
        "os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)",
        "os.kill(parent, 0)",
        f"open({str(tmp_path / 'serve.lock')!r}, 'w').close()",
        "import subprocess; subprocess.run(['/bin/true'], check=True)",
        "assert not confine(profiles.worker((), Path('/')), 'on').missing",
    ]
    denied = [*DENIED_TO_ALL, "socket.socket(socket.AF_UNIX)", "socket.socket(socket.AF_PACKET)"]
    setup = f"confine(profiles.supervisor(Path({str(tmp_path)!r})), 'on')"
    found = outcomes(setup, [*denied, *needed])
    assert {code: found[code] for code in denied} == dict.fromkeys(denied, "EPERM")
    assert {code: found[code] for code in needed} == dict.fromkeys(needed, "done")


# -- where the kernel gives less ---------------------------------------------------------------------


def degraded(offer: KernelOffer) -> tuple[list[str], list[str]]:
    text = expect_ok(
        f"{TRY}\noffer = KernelOffer({offer.landlock_abi}, {offer.filters})\n"
        f"got = confine(profiles.compile_child(), 'on', offer)\n"
        "sys.stdout.write(json.dumps([got.held, got.missing]))"
    )
    held, missing = json.loads(text)
    return held, missing


@needs_landlock
def test_a_kernel_that_could_move_no_file_between_folders_holds_control_to_none(tmp_path: Path) -> None:
    """Landlock's first ABI denies renames across folders whatever its rules say, and modules are stored by one."""
    text = expect_ok(
        f"{TRY}\ngot = confine(profiles.control(Path({str(tmp_path)!r}), ()), 'on', KernelOffer(1, True))\n"
        f"open({str(tmp_path / 'file')!r}, 'w').close()\n"
        "sys.stdout.write(json.dumps(got.missing))"
    )
    assert json.loads(text) == ["landlock over files (its ABI is 1, 2 is needed)"]


@needs_filters
def test_kernel_without_landlock_is_told_and_the_filter_still_holds() -> None:
    held, missing = degraded(KernelOffer(0, True))
    assert missing == ["landlock (the kernel has none)"]
    assert "seccomp" in held
    setup = "confine(profiles.compile_child(), 'on', KernelOffer(0, True))"
    assert outcomes(setup, ["open('/etc/passwd')"]) == {"open('/etc/passwd')": "EPERM"}


@needs_landlock
def test_kernel_with_nothing_is_told_and_the_process_goes_on() -> None:
    held, missing = degraded(KernelOffer(0, False))
    assert [what.partition(" (")[0] for what in missing] == ["landlock", "seccomp"]
    assert held[0] == "no_new_privs"


@needs_landlock
@pytest.mark.parametrize("abi", [abi for abi in range(1, 8) if abi <= OFFER.landlock_abi])
def test_each_abi_of_landlock_gives_what_it_has(abi: int) -> None:
    held, missing = degraded(KernelOffer(abi, False))
    (said,) = [words for words in held if words.startswith("landlock")]
    wanted = ["files", *(["tcp"] if abi >= 4 else []), *(["scope"] if abi >= 6 else [])]
    assert said == f"landlock {abi} ({', '.join(wanted)})"
    assert missing == ["seccomp (the kernel has none, or no numbers are known for this machine)"]


def test_required_and_missing_is_an_error_that_names_it() -> None:
    status, text = run_child(
        f"{TRY}\nconfine(profiles.compile_child(), 'require', KernelOffer(0, offered().filters))"
    )
    assert status == 1
    assert ConfinementMissing.__name__ in text
    assert "compile child: this kernel does not give landlock (the kernel has none)" in text


@needs_filters
@needs_landlock
def test_required_and_given_is_silent() -> None:
    expect_ok(f"{TRY}\nassert not confine(profiles.compile_child(), 'require').missing")


def test_off_changes_nothing() -> None:
    assert confine(profiles.compile_child(), "off") == InForce((), ("anything: --confinement is off",))
    assert Path("/etc/passwd").read_text()


@needs_landlock
def test_threads_that_ran_before_are_told() -> None:
    expect_ok(
        f"{TRY}\n"
        "wait = threading.Event()\n"
        "threading.Thread(target=wait.wait, daemon=True).start()\n"
        "got = confine(profiles.compile_child(), 'on')\n"
        "assert got.missing == ('landlock on 1 threads that ran before',), got\n"
    )


# -- the end with the parent -------------------------------------------------------------------------


@needs_filters
def test_compile_child_ends_with_its_parent_though_it_became_somebody_else() -> None:
    """A parent starts one, tells its process id, and is killed."""
    program = (
        "import subprocess, sys, os, time\n"
        "inner = 'import sys, time, os; from processes import profiles; from processes.confinement import confine;'"
        '\'confine(profiles.compile_child(os.getppid()), "on"); print("in", flush=True); time.sleep(60)\'\n'
        "child = subprocess.Popen([sys.executable, '-c', inner], stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        # Before it can be reaped by whoever inherits it, so that the number stays its own.
        pidfd = os.pidfd_open(child)
        parent.send_signal(signal.SIGKILL)
    end = time.monotonic() + 20
    while not _has_ended(pidfd):
        assert time.monotonic() < end, "the child outlived its parent"
        time.sleep(0.02)
    os.close(pidfd)


def _has_ended(pidfd: int) -> bool:
    return bool(select.select([pidfd], [], [], 0)[0])
