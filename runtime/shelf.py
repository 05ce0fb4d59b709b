"""Which of the tenants' code a process keeps in memory, by digest: so many, and so many bytes, but one at least.

The least recently used goes first, as long as nobody has more than a share of it all. Who has more makes the room, so
that a tenant with many scripts, or many versions, pushes out its own. `share` and `who_makes_room` are pure.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

#: A tenant may have a quarter of it, whatever others do; half beside one other, and all of it alone.
_SHARES: Final = 4


@dataclass(slots=True)
class Held:
    """By one tenant, or by all."""

    count: int = 0
    bytes: int = 0

    def is_above(self, bound: Held) -> bool:
        return self.count > bound.count or self.bytes > bound.bytes

    def part_of(self, bound: Held) -> float:
        return max(self.count / bound.count, self.bytes / bound.bytes)


def share(bound: Held, tenants: int) -> Held:
    """What each of so many tenants may keep when there is no more room."""
    parts = min(max(tenants, 1), _SHARES)
    return Held(bound.count // parts, bound.bytes // parts)


def who_makes_room(held: Mapping[str, Held], bound: Held, tenants: int) -> str | None:
    """Of `tenants` in all, `held` has those that may be above their share: the one that is the farthest. None: nobody
    is, so whatever was not used for the longest time goes.
    """
    allowed = share(bound, tenants)
    above = [tenant for tenant, each in held.items() if each.is_above(allowed)]
    return max(above, key=lambda tenant: held[tenant].part_of(bound), default=None)


@dataclass(slots=True)
class _Part:
    """One tenant's."""

    tenant: str
    held: Held = field(default_factory=Held)
    #: The least recently used first.
    order: OrderedDict[str, Place] = field(default_factory=OrderedDict)


@dataclass(slots=True, eq=False)
class Place:
    """Of one thing on a shelf. It is its tenant's for which it was loaded, also while others use the same bytes; once
    it has gone, it is of whoever asks next.
    """

    digest: str
    size: int
    shelf_order: OrderedDict[str, Place]
    part: _Part

    def use(self) -> None:
        """It is the most recently used now."""
        self.shelf_order.move_to_end(self.digest)
        self.part.order.move_to_end(self.digest)


class Shelf:
    def __init__(self, most: int, most_bytes: int) -> None:
        self._bound = Held(most, most_bytes)
        self.held = Held()
        self._order: OrderedDict[str, Place] = OrderedDict()
        self._parts: dict[str, _Part] = {}
        #: Of those that hold more than the least share: few, whereas tenants are many.
        self._large: dict[str, Held] = {}

    def put(self, tenant: str, digest: str, size: int) -> tuple[Place, list[str]]:
        """Its place, and which digests had to go for it."""
        part = self._parts.get(tenant)
        if part is None:
            part = self._parts[tenant] = _Part(tenant)
        place = Place(digest, size, self._order, part)
        self._order[digest] = part.order[digest] = place
        self._count(part, 1, size)
        gone = []
        while self.held.is_above(self._bound) and len(self._order) > 1:
            oldest = self._oldest(digest)
            self._remove(oldest)
            gone.append(oldest.digest)
        return place, gone

    def _oldest(self, newest: str) -> Place:
        """What goes next: not the newest, for which it is done."""
        payer = who_makes_room(self._large, self._bound, len(self._parts))
        order = self._order if payer is None else self._parts[payer].order
        oldest = next(iter(order.values()))
        # One that alone is more than its tenant's share is the newest there: others' go, as for the first of all.
        return next(iter(self._order.values())) if oldest.digest == newest else oldest

    def _remove(self, place: Place) -> None:
        part = place.part
        del self._order[place.digest], part.order[place.digest]
        self._count(part, -1, -place.size)
        if not part.order:
            del self._parts[part.tenant]

    def _count(self, part: _Part, count: int, size: int) -> None:
        for held in (self.held, part.held):
            held.count += count
            held.bytes += size
        if part.held.is_above(share(self._bound, _SHARES)):
            self._large[part.tenant] = part.held
        else:
            self._large.pop(part.tenant, None)
