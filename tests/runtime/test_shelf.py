"""A process keeps so much of its tenants' code; who has more than a share of it makes the room, else what was not
used for the longest time goes.
"""

from __future__ import annotations

import random

import pytest

from runtime.shelf import Held, Place, Shelf, share, who_makes_room

_BOUND = Held(1_000, 100_000)


class Kept:
    """A shelf, and what stands on it as its owner keeps it."""

    def __init__(self, most: int = 100, most_bytes: int = 1_000_000) -> None:
        self.shelf = Shelf(most, most_bytes)
        self.places: dict[str, Place] = {}
        self.owners: dict[str, str] = {}

    def put(self, tenant: str, digest: str, size: int = 10) -> list[str]:
        self.places[digest], gone = self.shelf.put(tenant, digest, size)
        self.owners[digest] = tenant
        for each in gone:
            del self.places[each], self.owners[each]
        return gone

    def of(self, tenant: str) -> list[str]:
        return [digest for digest, owner in self.owners.items() if owner == tenant]


@pytest.mark.parametrize(
    ("tenants", "allowed"),
    [
        (0, Held(1_000, 100_000)),  # nobody else: all of it
        (1, Held(1_000, 100_000)),
        (2, Held(500, 50_000)),
        (3, Held(333, 33_333)),
        (4, Held(250, 25_000)),
        (5, Held(250, 25_000)),  # never less than a quarter: most tenants rest
        (20_000, Held(250, 25_000)),
    ],
)
def test_share(tenants: int, allowed: Held) -> None:
    assert share(_BOUND, tenants) == allowed


@pytest.mark.parametrize(
    ("held", "tenants", "payer"),
    [
        ({}, 9, None),
        ({"a": Held(250, 25_000)}, 9, None),  # just its share
        ({"a": Held(251, 0)}, 9, "a"),
        ({"a": Held(1, 25_001)}, 9, "a"),
        ({"a": Held(400, 40_000), "b": Held(10, 45_000)}, 9, "b"),  # the farthest above it
        ({"a": Held(460, 40_000), "b": Held(10, 45_000)}, 9, "a"),  # by count as well as by bytes
        ({"a": Held(400, 40_000)}, 2, None),  # half, beside one other
        ({"a": Held(1_001, 100_000)}, 1, "a"),
    ],
)
def test_who_makes_room(held: dict[str, Held], tenants: int, payer: str | None) -> None:
    assert who_makes_room(held, _BOUND, tenants) == payer


def test_least_recently_used_goes_while_nobody_has_more_than_a_share() -> None:
    kept = Kept(most=8)
    for number in range(8):
        kept.put(f"tenant{number % 4}", f"{number}")
    kept.places["0"].use()
    assert kept.put("tenant1", "new") == ["1"]
    assert kept.put("another", "newer") == ["2"]


@pytest.mark.parametrize("size", [10, 200])  # 100 of them are too many; 50 of them are too large
def test_one_tenant_pushes_out_nobody_else(size: int) -> None:
    kept = Kept(most=100, most_bytes=10_000)
    others = [f"other{number}" for number in range(20)]
    for name in others:
        kept.put(name, name)
    for number in range(500):
        kept.put("greedy", f"greedy{number}", size)
    assert all(name in kept.places for name in others)
    assert kept.of("greedy")[-1] == "greedy499"
    assert kept.shelf.held.count == len(kept.places) <= 100
    assert kept.shelf.held.bytes <= 10_000


def test_who_was_alone_gives_room_to_those_who_come_down_to_its_share() -> None:
    kept = Kept(most=100)
    for number in range(150):
        kept.put("first", f"first{number}")
    assert len(kept.of("first")) == 100
    for number in range(300):
        kept.put(f"tenant{number}", f"{number}")
        # Using all of it again and again keeps no more than the share.
        for digest in kept.of("first"):
            kept.places[digest].use()
    assert len(kept.of("first")) == 25
    assert kept.shelf.held.count == 100


def test_one_that_alone_is_more_than_a_share_is_kept_and_the_next_finds_room() -> None:
    kept = Kept(most_bytes=1_000)
    for name in "abcdef":
        kept.put(name, name, 100)
    assert kept.put("large", "large", 700) == ["a", "b", "c"]
    assert kept.put("large", "larger", 2_000) == ["large", "d", "e", "f"]
    assert kept.put("g", "g", 100) == ["larger"]


def test_what_has_gone_is_of_whoever_asks_next() -> None:
    kept = Kept(most=2)
    kept.put("a", "shared")
    kept.put("b", "of b")
    kept.put("c", "of c")
    assert "shared" not in kept.places
    kept.put("b", "shared")
    assert kept.of("b") == ["shared"]


def test_what_is_counted_is_what_is_there_whatever_is_put_and_used() -> None:
    chance = random.Random(7)
    kept = Kept(most=40, most_bytes=4_000)
    for number in range(3_000):
        tenant = f"tenant{min(chance.randrange(30), chance.randrange(30))}"
        kept.put(tenant, f"{number}", chance.choice((1, 20, 150, 900)))
        sizes = [place.size for place in kept.places.values()]
        assert kept.shelf.held == Held(len(sizes), sum(sizes))
        assert len(sizes) <= 40
        assert sum(sizes) <= 4_000
        kept.places[chance.choice(list(kept.places))].use()


def test_who_makes_room_gives_what_it_used_least_recently_too() -> None:
    kept = Kept(most=4)
    for digest in ("a1", "a2", "a3"):
        kept.put("a", digest)
    kept.put("b", "b1")
    kept.places["a1"].use()
    assert kept.put("b", "b2") == ["a2"]
