"""What each kind of process gives up, and why it may. docs/decisions/0009-confinement.md has the reasons.

Filters answer EPERM rather than end the process: libraries try a call and do without it (the C library, c-ares
and Rust's runtime all do), so a killed process would be an outage at an update, and whoever has broken in
gains nothing from an answer. Calls newer than our table get ENOSYS where everything else is denied: that is
what libraries know how to take. To end the process is kept for calls of another architecture's ABI.
"""

from __future__ import annotations

import errno
import mimetypes
import os
import site
import socket
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from processes.confinement import Profile
from processes.landlock import (
    BIND_TCP,
    CONNECT_TCP,
    LIST,
    OWN,
    READ,
    RENAMES_SINCE,
    RUN,
    SCRATCH,
    WRITE,
    FileRule,
    readable,
)
from processes.seccomp import ALLOW, Filter, Rule, refuse

#: Of nobody: below 65,536, which is as far as a container's user namespace usually reaches, and not 65,534,
#: which other daemons use.
COMPILE_UID: Final = 65_533

_CLONE_THREAD: Final = 0x0001_0000
_CAP_DAC_OVERRIDE, _CAP_KILL, _CAP_SETGID, _CAP_SETUID, _CAP_SETPCAP, _CAP_NET_BIND_SERVICE = (
    1,
    5,
    6,
    7,
    8,
    10,
)

_DENY: Final = refuse(errno.EPERM)
_NONE_SUCH: Final = refuse(errno.ENOSYS)


def _names(*lines: str) -> tuple[str, ...]:
    return tuple(" ".join(lines).split())


#: No process of ours has a use for these, and each has been a way out, or reaches into other processes.
_NEVER: Final = _names(
    "ptrace process_vm_readv process_vm_writev process_madvise process_mrelease kcmp pidfd_getfd userfaultfd",
    "migrate_pages move_pages mount umount2 pivot_root chroot move_mount open_tree fsopen fsconfig fsmount",
    "fspick mount_setattr swapon swapoff reboot sethostname setdomainname settimeofday clock_settime",
    "clock_adjtime adjtimex acct quotactl quotactl_fd syslog bpf kexec_load kexec_file_load init_module",
    "finit_module delete_module iopl ioperm modify_ldt personality keyctl add_key request_key perf_event_open",
    "unshare setns io_uring_setup io_uring_enter io_uring_register open_by_handle_at name_to_handle_at",
    "fanotify_init mknod mknodat vhangup lookup_dcookie",
)

#: All that Python and wasmtime use between the imports and the exit of a compile.
_COMPILING: Final = _names(
    "read write readv writev pread64 pwrite64 close fstat lseek poll ppoll dup ftruncate mmap munmap mprotect",
    "mremap madvise brk memfd_create membarrier futex exit exit_group set_robust_list rseq sched_yield",
    "sched_getaffinity rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack restart_syscall clock_gettime",
    "clock_getres clock_nanosleep nanosleep gettimeofday time getrandom getrusage getcpu getpid gettid getppid",
    "getuid geteuid getgid getegid uname sysinfo getrlimit",
)

#: PR_SET_NAME and PR_GET_NAME of threads, and PR_SET_VMA, with which allocators name their memory.
_HARMLESS_PRCTL: Final = (15, 16, 0x5356_4D41)
#: F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC, F_ADD_SEALS, F_GET_SEALS: none that sends signals.
_HARMLESS_FCNTL: Final = (1, 2, 3, 1030, 1033, 1034)


def _threads_only() -> list[Rule]:
    return [
        Rule("clone", ALLOW, 0, (_CLONE_THREAD,), mask=_CLONE_THREAD),
        Rule("clone3", _NONE_SUCH),
        Rule("fork", _DENY),
        Rule("vfork", _DENY),
        Rule("execve", _DENY),
        Rule("execveat", _DENY),
    ]


def _signals_to_itself() -> list[Rule]:
    me = (os.getpid(),)
    return [
        Rule("kill", ALLOW, 0, me),
        Rule("tgkill", ALLOW, 0, me),
        Rule("rt_sigqueueinfo", ALLOW, 0, me),
        Rule("rt_tgsigqueueinfo", ALLOW, 0, me),
        Rule("tkill", _DENY),
        Rule("pidfd_send_signal", _DENY),
    ]


def compile_child(parent: int | None = None) -> Profile:
    """Bytes in by a pipe, bytes out by a pipe, memory and threads of its own; nothing else."""
    rules = [Rule(name, ALLOW) for name in _COMPILING]
    rules += [
        Rule("prctl", ALLOW, 0, _HARMLESS_PRCTL),
        Rule("fcntl", ALLOW, 1, _HARMLESS_FCNTL),
        Rule("prlimit64", ALLOW, 0, (0,)),
        *_threads_only(),
        *_signals_to_itself(),
    ]
    return Profile(
        "compile child",
        Filter(rules, default=_DENY, unknown=_NONE_SUCH),
        files=(),
        no_tcp=BIND_TCP | CONNECT_TCP,
        alone=True,
        identity=COMPILE_UID,
        parent=parent,
    )


def worker(files: Sequence[FileRule], data: Path) -> Profile:
    """Connects out, and opens what `files` says. It starts no process, and no TCP port of its own."""
    # Unix sockets are left to socketpair: whoever can connect to one may speak to the container engine.
    families = (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK)
    rules = [
        Rule("socket", ALLOW, 0, tuple(int(family) for family in families)),
        *(Rule(name, _DENY) for name in _NEVER),
        *_threads_only(),
        *_signals_to_itself(),
    ]
    return Profile(
        "worker process",
        Filter(rules, default=ALLOW, unknown=ALLOW),
        files=files,
        no_tcp=BIND_TCP,
        alone=True,
        capabilities=_for_folder(data),
    )


def control(data: Path, files: Sequence[FileRule] | None = None, ports: Sequence[int] = ()) -> Profile:
    """It starts compile children (and, as root, makes them somebody else), so it keeps exec and signals: to
    programs that `files` lets it start, and to those alone that it has started.
    """
    # Its listener and its channels are inherited: it makes no socket, and takes part in nothing on the network,
    # but for database and bucket, where there are such: it looks up their names, and connects to their `ports`.
    rules = [*(Rule(name, _DENY) for name in _NEVER), Rule("clone3", _NONE_SUCH)]
    if not ports:
        rules.append(Rule("socket", _DENY))
    else:
        families = (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK)
        rules.append(Rule("socket", ALLOW, 0, tuple(map(int, families))))
    return Profile(
        "control process",
        Filter(rules, default=ALLOW, unknown=ALLOW),
        files=files,
        files_since=RENAMES_SINCE,
        no_tcp=BIND_TCP | CONNECT_TCP,
        connect_ports=tuple(ports),
        alone=True,
        capabilities=_FOR_COMPILE_CHILDREN | _for_folder(data),
    )


def supervisor(data: Path) -> Profile:
    """Its children have what it has, and less: no file rules therefore, and a filter that leaves each what it
    needs. It opens listeners again, so it keeps the right to low ports.
    """
    families = (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK)
    rules = [Rule("socket", ALLOW, 0, tuple(map(int, families))), *(Rule(name, _DENY) for name in _NEVER)]
    return Profile(
        "supervisor",
        Filter(rules, default=ALLOW, unknown=ALLOW),
        capabilities=_FOR_COMPILE_CHILDREN | 1 << _CAP_NET_BIND_SERVICE | _for_folder(data),
    )


#: To end them, and to make them somebody else.
_FOR_COMPILE_CHILDREN: Final = 1 << _CAP_KILL | 1 << _CAP_SETGID | 1 << _CAP_SETUID | 1 << _CAP_SETPCAP


def _for_folder(data: Path) -> int:
    """Root with somebody else's data folder needs its way around permissions."""
    return 0 if data.stat().st_uid == os.geteuid() else 1 << _CAP_DAC_OVERRIDE


#: What resolving names, verifying certificates and telling the time and a file's type read.
_SYSTEM: Final = (
    *_names(
        "/etc/resolv.conf /etc/hosts /etc/host.conf /etc/nsswitch.conf /etc/gai.conf /etc/services /etc/protocols",
        "/etc/ssl /etc/pki /etc/ca-certificates /etc/crypto-policies /etc/localtime /etc/ld.so.cache",
        "/usr /lib /lib64 /proc /sys/fs/cgroup /sys/devices/system/cpu /dev/urandom",
    ),
    *mimetypes.knownfiles,
)


def worker_files(
    *,
    data: Path,
    read: Iterable[str],
    write: Iterable[str],
    scratch: Iterable[str],
    code: Iterable[Path],
    hidden: Iterable[Path],
) -> list[FileRule]:
    """Names in the `data` folder to `read`, to `write`, and to make files in, and what Python and its libraries
    read.

    `code`: folders of our packages and of the operator's hooks. `hidden`: nothing gives these, nor any of the
    data folder but what is named. What is named has to be there already.
    """
    return [
        *(FileRule(data / name, READ) for name in read),
        *(FileRule(data / name, WRITE) for name in write),
        *(FileRule(data / name, SCRATCH) for name in scratch),
        FileRule(Path("/dev/null"), WRITE),
        *readable([*map(Path, _SYSTEM), *_installed(), *code], [data, *hidden]),
    ]


def control_files(*, data: Path, read: Iterable[Path], code: Iterable[Path], root: Path) -> list[FileRule]:
    """All of the `data` folder, what else it is to `read`, and what its compile children are started from: Python,
    its libraries, and our packages, which they look for in `root`.
    """
    return [
        FileRule(data, OWN),
        *(FileRule(path, READ) for path in read),
        FileRule(root, LIST),
        FileRule(Path("/dev/null"), WRITE),
        *readable([*map(Path, _SYSTEM), *_installed(), *code], [data], RUN),
    ]


def _installed() -> list[Path]:
    installed = [Path(sys.prefix), Path(sys.base_prefix), *map(Path, site.getsitepackages())]
    certificates = (os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "OPENSSL_CONF"))
    installed += [Path(path) for path in certificates if path]
    resolver = Path("/etc/resolv.conf").resolve().parent
    if resolver.is_relative_to("/run"):
        installed.append(resolver)  # systemd-resolved and the like make the file anew
    return installed
