"""How a worker process shares out the descriptors that it may have: to visitors, mapped modules, the rest.

Where one kind could take all of them, a tenant with many modules would keep visitors out, and many visitors
would fail every file that the host opens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edge.door import DoorLimits
from outbound.quotas import MOST_RUNNING
from runtime.instance_pool import MAX_MODULES
from storage.d1.jobs import D1Room

#: Of the host itself: databases, a connection of each for each thread, channels, files opened for a moment.
_OWN: Final = 256
#: Open SQL databases, each with its log, its index and its lock.
_DATABASES: Final = D1Room().descriptors
_LEAST: Final = 32


@dataclass(frozen=True, slots=True)
class DescriptorShares:
    """`modules`: each holds the image that it is mapped from. `connections`: visitors'. `outbound`: those to
    upstreams, half of them in use and half at rest.
    """

    modules: int
    connections: int
    outbound: int


def share_out(limit: int) -> DescriptorShares:
    """`limit` is RLIMIT_NOFILE; -1 is none. What is left, a fifth or more, is for what goes out. Pure."""
    connections, outbound = DoorLimits().connections, 2 * MOST_RUNNING
    if limit == -1:
        return DescriptorShares(MAX_MODULES, connections, outbound)
    free = max(0, limit - _OWN - _DATABASES)
    modules = min(MAX_MODULES, max(_LEAST, free // 5))
    connections = min(connections, max(_LEAST, (free - modules) * 3 // 4))
    return DescriptorShares(modules, connections, min(outbound, max(_LEAST, free - modules - connections)))
