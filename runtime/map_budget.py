"""How many sandboxes and mapped modules a process may have, given how many memory maps the kernel lets it have.

A process that runs out of maps cannot even start a thread; wasmtime then fails in odd places. So the plan is made
at start. Measured: a pooled slot costs 2 maps before its first use and some 2 more while a guest lives in it; a
mapped module 4. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

MAPS_A_SLOT: Final = 4
MAPS_A_MODULE: Final = 4
#: The interpreter, its libraries, threads, databases.
MAPS_OF_THE_PROCESS: Final = 3_000
#: 256 running and 5,000 suspended trees, twice, and a reserve.
MOST_SLOTS: Final = 11_000
MOST_MODULES: Final = 4_000
LEAST_SLOTS: Final = 64
LEAST_MODULES: Final = 64
#: Linux's default, where it can't be read.
_DEFAULT_MAP_COUNT: Final = 65_530


@dataclass(frozen=True, slots=True)
class MapPlan:
    slots: int
    modules: int


class TooFewMaps(Exception):
    """The kernel allows fewer memory maps than the smallest host needs; the message says how many are right."""


def plan(max_map_count: int) -> MapPlan:
    """Sandboxes first, a quarter of what there is for modules; both bounded. Raises TooFewMaps."""
    left = max_map_count - MAPS_OF_THE_PROCESS
    modules = min(MOST_MODULES, left // 4 // MAPS_A_MODULE)
    slots = min(MOST_SLOTS, (left - modules * MAPS_A_MODULE) // MAPS_A_SLOT)
    if slots < LEAST_SLOTS or modules < LEAST_MODULES:
        needed = MAPS_OF_THE_PROCESS + 4 * MAPS_A_MODULE * LEAST_MODULES
        raise TooFewMaps(
            f"vm.max_map_count is {max_map_count}; a host needs {needed} at least, and 65530 for all of its "
            f"{MOST_SLOTS} sandboxes: sysctl vm.max_map_count=65530"
        )
    return MapPlan(slots, modules)


def max_map_count(path: Path = Path("/proc/sys/vm/max_map_count")) -> int:
    try:
        return int(path.read_text())
    except OSError:
        return _DEFAULT_MAP_COUNT
