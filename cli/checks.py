"""What `tenantry doctor` judges: pure. Facts of the machine in, verdicts with a way out.

Bounds come from docs/architecture.md: 3 to 4 memory maps a mapped module and 4 a live sandbox; a
descriptor a connection, some for each database.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

SUPPORTED_PYTHON: Final = ((3, 11), (3, 14))
#: The kernel's default. Below it a process can't hold the sandboxes that it admits.
MAX_MAP_COUNT: Final = 65_530
NOFILE: Final = 4_096
#: A machine of several is told of a change within a tenth of a second, and looks by itself once a second.
MOST_LAG_S: Final = 10.0


class State(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """`fix` says what to do; empty when all is well."""

    name: str
    state: State
    detail: str
    fix: str = ""


def check_python(version: tuple[int, int]) -> Check:
    first, beyond = SUPPORTED_PYTHON
    found = f"{version[0]}.{version[1]}"
    if first <= version < beyond:
        return Check("python", State.OK, found)
    wanted = f"{first[0]}.{first[1]} to {beyond[0]}.{beyond[1] - 1}"
    return Check("python", State.FAILED, found, f"run tenantry with Python {wanted}")


def check_wasmtime(installed: str | None, requirements: list[str]) -> Check:
    """`requirements` are of the installed tenantry; the pin among them is what our binding is made for."""
    pins = [line.partition("==")[2].strip() for line in requirements if line.startswith("wasmtime==")]
    pinned = pins[0].partition(";")[0].strip() if pins else ""
    if installed is None:
        return Check("wasmtime", State.FAILED, "not installed", f"pip install wasmtime=={pinned}")
    if installed == pinned:
        return Check("wasmtime", State.OK, installed)
    return Check(
        "wasmtime",
        State.FAILED,
        f"{installed} is installed, the binding to its C API is for {pinned or 'an unknown version'}",
        f"pip install wasmtime=={pinned}" if pinned else "install tenantry anew",
    )


def check_map_count(value: int | None) -> Check:
    if value is None:
        return Check("max_map_count", State.WARNING, "cannot be read", "is this Linux, with /proc mounted?")
    if value >= MAX_MAP_COUNT:
        return Check("max_map_count", State.OK, str(value))
    return Check(
        "max_map_count",
        State.WARNING,
        f"{value}: a sandbox needs 4 maps, so few fit",
        f"sysctl -w vm.max_map_count={MAX_MAP_COUNT}",
    )


def check_nofile(soft: int, hard: int) -> Check:
    """`soft` and `hard` are RLIMIT_NOFILE; -1 is no limit."""
    if soft == -1 or soft >= NOFILE:
        return Check("open files", State.OK, "no limit" if soft == -1 else str(soft))
    room = "" if hard == -1 or hard >= NOFILE else f"; the hard limit is {hard}, which only root raises"
    return Check(
        "open files",
        State.WARNING,
        f"{soft}: a connection takes one{room}",
        f"ulimit -n {NOFILE}   (systemd: LimitNOFILE={NOFILE})",
    )


def check_confinement(tried: Mapping[str, tuple[str, Sequence[str]]]) -> Check:
    """`tried`: kind of process → what it would be held to, in words, and what of it the kernel doesn't give."""
    detail = "; ".join(f"{kind}: {words}" for kind, (words, _) in tried.items())
    if not any(missing for _, missing in tried.values()):
        return Check("confinement", State.OK, detail)
    return Check(
        "confinement",
        State.WARNING,
        detail,
        "boot a kernel of 5.13 or later with CONFIG_SECCOMP_FILTER and with landlock in lsm=; in a container, "
        "let its profile pass seccomp and landlock_*",
    )


def check_javascript(why_not: str | None) -> Check:
    """`why_not`: why there is no engine, or None."""
    if why_not is None:
        return Check("JavaScript", State.OK, "its engine is built; .js files can be deployed")
    return Check(
        "JavaScript", State.WARNING, why_not, "without it, wasm workers run and JavaScript is refused"
    )


def check_accelerator(why_not: str | None) -> Check:
    """`why_not`: why there is none, or None."""
    if why_not is None:
        return Check("accelerator", State.OK, "built; guests take the short way, unless --accelerator off")
    return Check(
        "accelerator",
        State.WARNING,
        f"{why_not}; ctypes does its work, for about a quarter more CPU a request",
        "install a C compiler and Python's headers (gcc, libc6-dev, python3-dev), then install Tenantry again "
        "from source (make setup)",
    )


_GROUP: Final = re.compile(r'tenantry_group_processes\{group="([a-z0-9_-]+)"\} (\d+)')


def check_groups(metrics: str) -> list[Check]:
    """One of each isolation group that the running host's metrics tell of."""
    return [
        Check(f"group {name}", State.OK, f"{running} worker processes run")
        if running > 0
        else Check(
            f"group {name}",
            State.FAILED,
            "no worker process runs, so its workers answer 503",
            f"look at the host's log for {name}-0",
        )
        for name, running in ((name, int(float(count))) for name, count in _GROUP.findall(metrics))
    ]


def check_process(row: Mapping[str, Any]) -> Check:
    """A row of `GET /processes`."""
    name, held = f"process {row['name']}", row["confinement"]
    if "no_new_privs" not in held:
        return Check(
            name, State.WARNING, f"{row['state']}; not there to be looked at", "look at the host's log"
        )
    landlock = [word for word in held["held"] if word.startswith("landlock")] or ["no landlock"]
    words = [
        "no_new_privs" if held["no_new_privs"] else "may gain privileges",
        "seccomp" if held["seccomp"] else "all system calls",
        *landlock,
        f"capabilities {held['capabilities']}",
        f"uid {held['uid']}",
    ]
    detail = f"{row['state']}: {', '.join(words)}"
    if held["missing"]:
        detail += f"; without {', '.join(held['missing'])}"
    # The supervisor's children have what it has, so it holds itself to no files.
    if held["no_new_privs"] and held["seccomp"] and not held["missing"]:
        return Check(name, State.OK, detail)
    return Check(name, State.WARNING, detail, "see the check `confinement`; start without --confinement off")


def check_replication(row: Mapping[str, Any]) -> Check:
    """Of one file, as `/readyz` tells on a machine of several."""
    name = f"replication of {row['file']}"
    at = f"at {row['seq']} of {row['log_seq']}"
    if row["stopped"]:
        return Check(
            name, State.FAILED, f"{at}: {row['stopped']}", "upgrade this machine, or look at its log"
        )
    if row["away_s"] is not None:
        detail = f"{at}: the database has been away for {row['away_s']:.0f} s"
        return Check(
            name, State.WARNING, detail, "changes wait for it, serving does not: look at the database"
        )
    if row["lag_s"] > MOST_LAG_S:
        return Check(name, State.WARNING, f"{at}: {row['lag_s']:.0f} s behind", "look at this machine's load")
    return Check(name, State.OK, at)


def check_folder(path: str, mode: int, owner: int, me: int) -> Check:
    """The data folder: `mode` is its permission bits, `owner` and `me` user ids. What is in it is private
    by itself, so others who may only look see names, and others who may write could replace a key.
    """
    if owner != me and me != 0:
        return Check(
            "data folder", State.FAILED, f"{path} is user {owner}'s, you are {me}", "run as its owner"
        )
    if mode & 0o077:
        state = State.FAILED if mode & 0o022 else State.WARNING
        may = "write to it" if mode & 0o022 else "look into it"
        return Check(
            "data folder", state, f"{path} has mode {mode:03o}: others may {may}", f"chmod 700 {path}"
        )
    return Check("data folder", State.OK, f"{path}, mode {mode:03o}")


def check_private(name: str, path: str, mode: int, owner: int, me: int) -> Check:
    """A file that gives whoever reads it the API or the tenants' secrets."""
    if owner != me and me != 0:
        return Check(name, State.FAILED, f"{path} is user {owner}'s, you are {me}", "run as its owner")
    if mode & 0o077:
        detail = f"{path} has mode {mode:03o}: others may get in"
        return Check(name, State.FAILED, detail, f"chmod 600 {path}")
    return Check(name, State.OK, f"{path}, mode {mode:03o}")
