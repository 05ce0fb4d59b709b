"""The index answers as the store would, after every change, and visitors can neither grow it without bound
nor push out what is hot.
"""

from __future__ import annotations

import random

import pytest

from dispatch.generation_cache import GenerationCache
from dispatch.route_index import RouteIndex
from dispatch.routing import CompiledRoutes, NoRoute, RequestFacts, Routed, route
from model.hostname import wildcard_candidates
from model.scripts import HostnameRoutes, ScriptRef, ScriptVersion
from tests.dispatch.support import MemoryRoutes, make_route, make_version, ref


def answer(index: RouteIndex, hostname: str, path: str = "/") -> str | None:
    found = index.match(hostname, path, ())
    return found.route.id if isinstance(found, Routed) else None


def test_a_second_look_up_reads_nothing_from_the_store() -> None:
    store = MemoryRoutes()
    store.put_routes("a.example", make_route("one"))
    store.put_script(make_version(ref("one")))
    index = RouteIndex(store)
    for _ in range(3):
        assert answer(index, "a.example") == "one"
        assert answer(index, "missing.test") is None
        assert index.script(ref("one")) is not None
        assert index.script(ref("missing")) is None
    assert sorted(store.reads) == sorted(set(store.reads))


def test_a_new_route_is_seen_by_the_next_request() -> None:
    store = MemoryRoutes()
    index = RouteIndex(store)
    assert answer(index, "a.example") is None
    store.put_routes("*", make_route("rest", "*"))
    assert answer(index, "a.example") == "rest"
    store.put_routes("*.example", make_route("wild", "*.example"))
    assert answer(index, "a.example") == "wild"
    store.put_routes("a.example", make_route("exact"))
    assert answer(index, "a.example") == "exact"
    assert answer(index, "b.example") == "wild"
    store.put_routes("a.example")
    assert answer(index, "a.example") == "wild"


def test_a_change_evicts_its_own_key_alone() -> None:
    store = MemoryRoutes()
    for name in ("a", "b"):
        store.put_routes(f"{name}.example", make_route(name, f"{name}.example"))
        store.put_script(make_version(ref(name)))
    index = RouteIndex(store)
    for name in ("a", "b"):
        answer(index, f"{name}.example")
        index.script(ref(name))
    store.reads.clear()
    store.put_routes("a.example", make_route("new"))
    store.put_script(make_version(ref("b"), "v2"))
    assert answer(index, "a.example") == "new"
    assert answer(index, "b.example") == "b"
    assert (index.script(ref("b")) or make_version(ref("?"))).version == "v2"
    assert index.script(ref("a")) is not None
    assert store.reads == ["a.example", "production/b"]


def test_a_namespace_change_evicts_its_scripts() -> None:
    store = MemoryRoutes()
    store.put_script(make_version(ref("a")))
    index = RouteIndex(store)
    assert index.script(ref("a")) is not None
    del store.scripts[ref("a")]
    store.change("namespace", "production")
    assert index.script(ref("a")) is None


def test_a_plain_script_has_a_key_without_namespace() -> None:
    store = MemoryRoutes()
    index = RouteIndex(store)
    assert index.script(ref("plain", None)) is None
    store.put_script(make_version(ref("plain", None)))
    assert index.script(ref("plain", None)) is not None


def test_listeners_hear_every_change_after_the_index_evicted_it() -> None:
    store = MemoryRoutes()
    store.put_routes("a.example", make_route("old"))
    index = RouteIndex(store)
    answer(index, "a.example")
    heard: list[tuple[str, str, str | None]] = []
    index.on_change(lambda kind, key: heard.append((kind, key, answer(index, "a.example"))))
    store.change("policy", "production")
    store.change("secret", "production/a")
    store.put_routes("a.example", make_route("new"))
    index.refresh()
    assert heard == [
        ("policy", "production", "new"),
        ("secret", "production/a", "new"),
        ("route", "a.example", "new"),
    ]


def test_a_log_that_no_longer_reaches_back_drops_everything() -> None:
    store = MemoryRoutes()
    store.put_routes("a.example", make_route("old"))
    index = RouteIndex(store)
    assert answer(index, "a.example") == "old"
    heard: list[tuple[str, str]] = []
    index.on_change(lambda kind, key: heard.append((kind, key)))
    store.put_routes("a.example", make_route("new"))
    store.pruned_below = 100
    assert answer(index, "a.example") == "new"
    assert heard == [("all", "")]


def test_a_commit_whose_number_was_never_stored_is_found_in_the_log_within_a_second() -> None:
    store = MemoryRoutes()
    store.put_routes("a.example", make_route("old"))
    index = RouteIndex(store)
    assert answer(index, "a.example") == "old"
    behind = store.counter
    store.put_routes("a.example", make_route("new"))
    store.counter = behind  # killed between commit and store
    assert answer(index, "a.example") == "old"
    index.check_log()
    assert answer(index, "a.example") == "new"
    # With the counter still behind, requests don't go to the log again and again.
    store.reads.clear()
    calls = []
    read_log = store.changes_since
    store.changes_since = lambda sequence: (calls.append(sequence), read_log(sequence))[1]  # type: ignore[method-assign, func-returns-value]
    assert answer(index, "a.example") == "new"
    assert (calls, store.reads) == ([], [])
    # … and the next change, which puts the counter right, is seen.
    store.put_routes("a.example", make_route("newest"))
    assert answer(index, "a.example") == "newest"


def test_a_fill_that_began_before_an_eviction_is_not_kept() -> None:
    class ChangingStore(MemoryRoutes):
        """Changes in the middle of being read, as it may once fills are asynchronous."""

        def __init__(self) -> None:
            super().__init__()
            self.during: list[object] = []

        def hostname_routes(self, pattern: str) -> HostnameRoutes | None:
            found = super().hostname_routes(pattern)
            self._interfere()
            return found

        def script(self, ref: ScriptRef) -> ScriptVersion | None:
            found = super().script(ref)
            self._interfere()
            return found

        def _interfere(self) -> None:
            if self.during:
                self.during.pop()
                self.put_routes("a.example", make_route("new"))
                self.put_script(make_version(ref("s"), "new"))
                index.refresh()

    store = ChangingStore()
    store.put_routes("a.example", make_route("old"))
    store.put_script(make_version(ref("s"), "old"))
    index = RouteIndex(store)
    store.during.append("route")
    assert answer(index, "a.example") == "old"
    assert answer(index, "a.example") == "new"
    store = ChangingStore()
    store.put_script(make_version(ref("s"), "old"))
    index = RouteIndex(store)
    store.during.append("script")
    assert (index.script(ref("s")) or make_version(ref("?"))).version == "old"
    assert (index.script(ref("s")) or make_version(ref("?"))).version == "new"


@pytest.mark.parametrize(
    "suffix", ["nowhere.test", "wild.example"], ids=["unknown names", "under a wildcard"]
)
def test_a_flood_of_made_up_hostnames_evicts_nothing_that_has_routes(suffix: str) -> None:
    store = MemoryRoutes()
    store.put_routes("*.wild.example", make_route("wild", "*.wild.example"))
    for number in range(50):
        store.put_routes(f"t{number}.example", make_route(str(number), f"t{number}.example"))
    index = RouteIndex(store, max_entries=100)
    for number in range(50):
        answer(index, f"t{number}.example")
    for number in range(5_000):
        answer(index, f"x{number}.{suffix}")
    store.reads.clear()
    for number in range(50):
        assert answer(index, f"t{number}.example") == str(number)
    assert store.reads == []
    assert sum(len(cache) for cache in (index._own, index._by_wildcard, index._unknown)) <= 300


def test_lookup_shows_the_rules_in_order() -> None:
    store = MemoryRoutes()
    store.put_routes("a.example", make_route("api", prefix="/api"), make_route("all"))
    found = RouteIndex(store).lookup("a.example")
    assert isinstance(found, CompiledRoutes)
    assert [rule.routed.route.id for rule in found.rules] == ["api", "all"]
    assert isinstance(RouteIndex(store).lookup("b.example"), NoRoute)


def test_the_index_always_answers_as_the_store_would() -> None:
    random_ = random.Random(3)
    names = ["a.example", "b.example", "x.sub.example", "sub.example", "other.test"]
    patterns = [*names, "*.example", "*.sub.example", "*"]
    store = MemoryRoutes()
    index = RouteIndex(store, max_entries=4)
    for step in range(3_000):
        if random_.random() < 0.2:
            pattern = random_.choice(patterns)
            prefixes = random_.sample(["", "/api", "/api/v2"], random_.randrange(4))
            store.put_routes(
                pattern, *(make_route(f"{step}{prefix}", pattern, prefix) for prefix in prefixes)
            )
        name, path = random_.choice(names), random_.choice(["/", "/api", "/api/v2/x"])
        stored = [store.patterns[p] for p in wildcard_candidates(name) if p in store.patterns]
        expected = route(RequestFacts(name, path), stored)
        found = index.match(name, path, ())
        assert isinstance(found, Routed) is isinstance(expected, Routed)
        if isinstance(found, Routed):
            assert found == expected


def test_generation_cache_keeps_what_is_used_and_stays_bounded() -> None:
    cache: GenerationCache[int, str] = GenerationCache(10)
    cache.put(-1, "hot")
    for number in range(1_000):
        cache.put(number, "cold")
        assert cache.get(-1) == "hot"
        assert len(cache) <= 10
    assert cache.get(0) is None
    cache.discard(-1)
    assert cache.get(-1) is None
    cache.put(3, "three")
    cache.put(4, "four")
    cache.discard_where(lambda key: key == 3)
    assert (cache.get(3), cache.get(4)) == (None, "four")
    with pytest.raises(ValueError, match="2 is the least"):
        GenerationCache(1)
