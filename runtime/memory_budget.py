"""What a process may use of the machine's memory, and who pays when it is too much.

Every event keeps to its own limit, but 10,000 events of 128 MiB each are more than any machine has. Above 80 %
of the process's share, new events of the tenants that hold the most are shed; above 95 % the largest running
events are ended, so many that the rest fits. `decide` is pure.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SHED_ABOVE: Final = 0.80
END_ABOVE: Final = 0.95
#: Below this only numbers count, as for nearly every event.
COUNTED_FROM_BYTES: Final = 8 << 20
#: Of the machine, for all worker processes together: the rest is the kernel's, control's and the page cache's.
_WORKERS_SHARE: Final = 0.75
_LEAST_SHARE_BYTES: Final = 256 << 20


@dataclass(frozen=True, slots=True)
class Pressure:
    """`shed`: tenants that get no new event now. `excess`: running events with so many bytes must go, the largest
    first. `unexplained`: ending every event would not help, since what is resident is not theirs any more.
    """

    shed: frozenset[str] = frozenset()
    excess: int = 0
    unexplained: bool = False


NONE: Final = Pressure()


def decide(resident_bytes: int, share_bytes: int, held: Mapping[str, int], leaving: int = 0) -> Pressure:
    """Given what the process has resident, the guest memory that each tenant's running events have, and that of
    events which have ended and are being deleted: a thread needs a tenth of a second for each 100 MiB.

    The largest holders are those above the average of the tenants that hold anything; above the end, those above
    a tenth of it, since hundreds that grow at once are faster than any thread deletes. A tenant that runs nothing
    is never among them, so a neighbour is admitted as long as there is a slot. Nobody pays for what
    running events cannot explain: deep recursion leaves fiber stacks resident that wasmtime does not give back.
    """
    if resident_bytes <= SHED_ABOVE * share_bytes:
        return NONE
    is_above_end = resident_bytes > END_ABOVE * share_bytes
    if sum(held.values()) + leaving < resident_bytes - SHED_ABOVE * share_bytes:
        return Pressure(unexplained=is_above_end)
    least = sum(held.values()) / max(1, len(held)) / (10 if is_above_end else 1)
    shed = frozenset(tenant for tenant, size in held.items() if size >= least)
    remaining = resident_bytes - leaving
    return Pressure(
        shed, int(remaining - SHED_ABOVE * share_bytes) if remaining > END_ABOVE * share_bytes else 0
    )


def expected_bytes(before: int, touched: int) -> int:
    """What a script's next event is expected to touch, after one that was expected to touch `before`: its peak, which
    fades over some tens of events that touch less. 0: too little to be counted.
    """
    expected = max(touched, before - max(0, before - touched) // 16)
    return expected if expected > COUNTED_FROM_BYTES else 0


def for_events(share_bytes: int, resident_bytes: int) -> int:
    """Of a process's share, what events may be expected to touch, given what it has resident without any."""
    return max(share_bytes // 4, int(SHED_ABOVE * share_bytes) - resident_bytes)


def resident_bytes() -> int:
    """Of this process, as the kernel counts it (Linux). 20 µs."""
    return int(Path("/proc/self/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def share_bytes(workers: int, limits: Iterable[int] | None = None) -> int:
    """What one of `workers` processes may use: of the machine's memory or the cgroup's limit, the lower."""
    available = min(limits if limits is not None else memory_limits())
    return max(_LEAST_SHARE_BYTES, int(available * _WORKERS_SHARE / workers))


def memory_limits(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> list[int]:
    """The machine's memory, and each limit of the cgroups that this process is in (v1 and v2), in bytes."""
    meminfo = (proc / "meminfo").read_text().splitlines()
    limits = [int(line.split()[1]) * 1024 for line in meminfo if line.startswith("MemTotal:")]
    for line in _lines(proc / "self" / "cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            limits += _limits_upwards(cgroups, path, "memory.max")
        elif "memory" in controllers.split(","):
            limits += _limits_upwards(cgroups / "memory", path, "memory.limit_in_bytes")
    return limits


def _limits_upwards(root: Path, path: str, name: str) -> list[int]:
    """A cgroup is held to its parents' limits too; inside a container its own path may not be visible."""
    folder = root / path.lstrip("/")
    inside = [each for each in (folder, *folder.parents) if each.is_relative_to(root)]
    return [int(text) for each in inside for text in _lines(each / name) if text.isdigit()]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
