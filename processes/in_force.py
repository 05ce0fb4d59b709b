"""What the kernel says that holds a process, and what the process itself has said: the kernel tells nobody of
Landlock. Source: proc(5), /proc/pid/status.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: Value of Seccomp: that a filter holds it.
_FILTERED: Final = "2"


@dataclass(frozen=True, slots=True)
class KernelView:
    """`capabilities`: a bit for each that is in effect."""

    no_new_privs: bool
    seccomp: bool
    capabilities: int
    uid: int


def kernel_view(pid: int) -> KernelView | None:
    """None when there is no such process, or nobody may look."""
    try:
        return parse_status(Path(f"/proc/{pid}/status").read_text(errors="replace"))
    except OSError:
        return None


def parse_status(text: str) -> KernelView:
    """What a kernel leaves out counts as not in force. Pure."""
    lines = {name: value.strip() for name, _, value in (row.partition(":") for row in text.splitlines())}
    ids = lines.get("Uid", "").split()
    return KernelView(
        lines.get("NoNewPrivs") == "1",
        lines.get("Seccomp") == _FILTERED,
        int(lines.get("CapEff") or "0", 16),
        int(ids[1]) if len(ids) > 1 else -1,
    )


def describe(reported: Mapping[str, object], view: KernelView | None) -> dict[str, object]:
    """One process as the API shows it: `reported` is the supervisor's word, with what the process has `told`.
    Pure.
    """
    shown = {name: value for name, value in reported.items() if name != "told"}
    told = reported.get("told")
    held, missing = told if isinstance(told, list | tuple) and len(told) == 2 else ([], [])
    confinement: dict[str, object] = {"held": list(held), "missing": list(missing)}
    if view is not None:
        confinement |= {
            "no_new_privs": view.no_new_privs,
            "seccomp": view.seccomp,
            "capabilities": f"{view.capabilities:#x}",
            "uid": view.uid,
        }
    return shown | {"confinement": confinement}
