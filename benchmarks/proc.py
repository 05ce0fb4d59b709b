"""What /proc says of a process: CPU time, memory, descriptors, children. And where it may run."""

from __future__ import annotations

import os
from pathlib import Path


def _threads(pid: int) -> list[int]:
    return [int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir()]


def cpu_ns(pid: int) -> int:
    """CPU time of all threads that live now, from the scheduler's own clock (not the 10 ms of `stat`)."""
    total = 0
    for thread in _threads(pid):
        try:
            total += int(Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()[0])
        except FileNotFoundError:
            continue  # it ended just now
    return total


def private_bytes(pid: int) -> int:
    """Memory that ending the process would free: pages of its own, files' unwritten ones included."""
    total = 0
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(("Private_Clean:", "Private_Dirty:", "Private_Hugetlb:")):
            total += int(line.split()[1]) * 1024
    return total


def rss_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def maps(pid: int) -> int:
    """Entries of its memory map, of which the kernel gives 65,530 by default."""
    with Path(f"/proc/{pid}/maps").open("rb") as lines:
        return sum(1 for _ in lines)


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def children(pid: int) -> list[int]:
    """Direct children, whichever thread started them."""
    found: list[int] = []
    for thread in _threads(pid):
        try:
            found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
        except FileNotFoundError:
            continue
    return found


def command(pid: int) -> list[str]:
    """Its arguments; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def pin(pid: int, cores: set[int]) -> None:
    """Let a process, with every thread it has, run on `cores` alone. Later threads inherit it."""
    for thread in _threads(pid):
        try:
            os.sched_setaffinity(thread, cores)
        except ProcessLookupError:
            continue


def cores() -> list[int]:
    """The cores that this process may use."""
    return sorted(os.sched_getaffinity(0))
