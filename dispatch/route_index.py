"""Routes and scripts through a bounded cache over a RouteStore, never a table of all tenants in memory.

Every look-up first compares the store's change number with the one that the cache stands at: one memory
load and one compare. On a difference just the changed keys are evicted, and whoever keeps something made
from them (instances, environments, policies) is told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from dispatch.generation_cache import GenerationCache
from dispatch.routing import CompiledRoutes, NoRoute, Routed, choose, compile_routes
from model.capabilities import RouteStore
from model.hostname import wildcard_candidates
from model.messages import Headers
from model.scripts import HostnameRoutes, ScriptRef, ScriptVersion

#: kind, key: as in RouteStore.changes_since. ("all", "") when the log no longer reached back.
OnChange = Callable[[str, str], None]
ALL: Final = "all"


class _Absent:
    """What a cache keeps for "looked up, not there"."""


_ABSENT: Final = _Absent()
_NO_ROUTES: Final = HostnameRoutes()
Compiled = Routed | NoRoute | CompiledRoutes


class RouteIndex:
    """One a process; not for several threads.

    Hostnames are kept in three places, so that a flood of made-up names, which fills only the second and
    the third, evicts nothing that has routes of its own: those with routes of exactly their name, those
    that only a wildcard matches, those without any.
    """

    def __init__(self, store: RouteStore, max_entries: int = 20_000) -> None:
        self._store = store
        #: The counter as it was last compared, and how far the log has been read. They differ while a
        #: process that died between its commit and its store has left the counter behind the log.
        self._counter = store.sequence()
        self._position = self._counter
        self._own: GenerationCache[str, Compiled] = GenerationCache(max_entries)
        self._by_wildcard: GenerationCache[str, Compiled] = GenerationCache(max_entries)
        self._unknown: GenerationCache[str, Compiled] = GenerationCache(max_entries)
        self._patterns: GenerationCache[str, HostnameRoutes] = GenerationCache(max_entries)
        self._scripts: GenerationCache[ScriptRef, ScriptVersion | _Absent] = GenerationCache(max_entries)
        self._listeners: list[OnChange] = []
        self._generation = 0

    @property
    def generation(self) -> int:
        """Grows with every eviction: who fills a cache across an `await` compares it before and after, and
        keeps nothing that was read before an eviction.
        """
        return self._generation

    def on_change(self, listener: OnChange) -> None:
        """Call `listener(kind, key)` for each change, after the index has evicted it. It must not raise."""
        self._listeners.append(listener)

    def match(self, hostname: str, path: str, headers: Headers) -> Routed | NoRoute:
        """The route that answers, by the precedence of `dispatch.routing`. `path` is as sent.

        A hit on a hostname whose one route is unconditional looks at neither path nor headers.
        """
        if self._store.sequence() != self._counter:
            self._evict()
        found = self._own.get(hostname)
        if found is None:
            found = self._lookup(hostname)
        if type(found) is CompiledRoutes:
            return choose(found.rules, path, headers)
        return found  # type: ignore[return-value]  # mypy doesn't narrow the rest of a union by `type is`

    def lookup(self, hostname: str) -> CompiledRoutes | NoRoute:
        """Every rule that can answer `hostname`, in precedence order, for whoever wants to show them."""
        self.refresh()
        return compile_routes(self._candidates(hostname))

    def script(self, ref: ScriptRef) -> ScriptVersion | None:
        """The deployed version, or None when there is no such script (remembered too)."""
        if self._store.sequence() != self._counter:
            self._evict()
        found = self._scripts.get(ref)
        if found is None:
            generation = self._generation
            found = self._store.script(ref) or _ABSENT
            if generation == self._generation:
                self._scripts.put(ref, found)
        return None if isinstance(found, _Absent) else found

    def refresh(self) -> None:
        """Evict what has changed. `match` and `script` do it themselves; call it where nothing is looked
        up here, but something that a listener keeps is used.
        """
        if self._store.sequence() != self._counter:
            self._evict()

    def check_log(self) -> None:
        """Once a second: read the change log itself. A process killed between its commit and the store of
        the number leaves the number behind the log; nobody may stay stale for longer than this.
        """
        self._evict()

    def clear(self) -> None:
        """Drop all, and tell listeners so."""
        self._generation += 1
        for cache in (self._own, self._by_wildcard, self._unknown, self._patterns, self._scripts):
            cache.clear()
        self._tell(ALL, "")

    def _lookup(self, hostname: str) -> Compiled:
        found = self._by_wildcard.get(hostname) or self._unknown.get(hostname)
        if found is not None:
            return found
        generation = self._generation
        candidates = self._candidates(hostname)
        compiled = compile_routes(candidates)
        answer: Compiled = compiled
        if isinstance(compiled, CompiledRoutes) and compiled.always is not None:
            answer = compiled.always
        if generation == self._generation:
            if candidates[0].routes:
                self._own.put(hostname, answer)
            elif isinstance(answer, NoRoute):
                self._unknown.put(hostname, answer)
            else:
                self._by_wildcard.put(hostname, answer)
        return answer

    def _candidates(self, hostname: str) -> list[HostnameRoutes]:
        exact, *wildcards = wildcard_candidates(hostname)
        found = [self._store.hostname_routes(exact) or _NO_ROUTES]
        for pattern in wildcards:
            routes = self._patterns.get(pattern)
            if routes is None:
                generation = self._generation
                routes = self._store.hostname_routes(pattern) or _NO_ROUTES
                if generation == self._generation:
                    self._patterns.put(pattern, routes)
            found.append(routes)
        return found

    def _evict(self) -> None:
        # Read before the log: what is committed in between is seen at the next compare.
        counter = self._store.sequence()
        newest, changes = self._store.changes_since(self._position)
        if changes is None:
            self._position, self._counter = newest, counter
            self.clear()
            return
        if changes:
            self._generation += 1
        for kind, key in changes:
            self._evict_one(kind, key)
        self._position, self._counter = newest, counter
        # All is evicted before anyone is told, so that a listener may look things up.
        for kind, key in changes:
            self._tell(kind, key)

    def _evict_one(self, kind: str, key: str) -> None:
        if kind == "route":
            self._evict_pattern(key)
        elif kind == "script":
            self._scripts.discard(_parse_ref(key))
        elif kind == "namespace":
            # Its scripts' versions carry `trusted`, which may have changed; or it is gone with them.
            self._scripts.discard_where(lambda ref: (ref.namespace or "") == key)

    def _evict_pattern(self, pattern: str) -> None:
        self._patterns.discard(pattern)
        if pattern == "*":
            for cache in (self._own, self._by_wildcard, self._unknown):
                cache.clear()
        elif pattern.startswith("*."):
            suffix = pattern[1:]
            for cache in (self._own, self._by_wildcard, self._unknown):
                cache.discard_where(lambda hostname: hostname.endswith(suffix))
        else:
            for cache in (self._own, self._by_wildcard, self._unknown):
                cache.discard(pattern)

    def _tell(self, kind: str, key: str) -> None:
        for listener in self._listeners:
            listener(kind, key)


def _parse_ref(key: str) -> ScriptRef:
    namespace, _, script = key.rpartition("/")
    return ScriptRef(namespace or None, script)  # type: ignore[arg-type]  # a stored key, parsed when made
