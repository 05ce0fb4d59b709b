"""A RouteStore in memory with a change log of its own, and short ways to make routes."""

from __future__ import annotations

from collections.abc import Sequence

from model.identity import DEFAULT_ACCOUNT, NamespaceName, ScriptName, TenantId, VersionId
from model.scripts import HostnameRoutes, Route, ScriptRef, ScriptVersion, Target


def ref(name: str, namespace: str | None = "production") -> ScriptRef:
    return ScriptRef(NamespaceName(namespace) if namespace else None, ScriptName(name))


def make_route(
    name: str, pattern: str = "a.example", prefix: str = "", headers: dict[str, str] | None = None
) -> Route:
    """A route named `name` to the script of that name."""
    conditions = tuple(sorted((headers or {}).items()))
    return Route(name, pattern, prefix, conditions, Target(script=ref(name)))


def make_version(script: ScriptRef, version: str = "v1") -> ScriptVersion:
    return ScriptVersion(
        DEFAULT_ACCOUNT, script, TenantId("acme"), VersionId(version), "0" * 64, frozenset({"fetch"})
    )


class MemoryRoutes:
    """A RouteStore. `committed` is the log; `counter` is what the mapped file says."""

    def __init__(self) -> None:
        self.patterns: dict[str, HostnameRoutes] = {}
        self.scripts: dict[ScriptRef, ScriptVersion] = {}
        self.log: list[tuple[str, str]] = []
        self.counter = 0
        self.pruned_below = 0
        self.reads: list[str] = []

    def put_routes(self, pattern: str, *routes: Route, header_routes: bool = False) -> None:
        self.patterns[pattern] = HostnameRoutes(routes, header_routes)
        self.change("route", pattern)

    def put_script(self, version: ScriptVersion) -> None:
        self.scripts[version.ref] = version
        self.change("script", f"{version.ref.namespace or ''}/{version.ref.script}")

    def change(self, kind: str, key: str) -> None:
        self.log.append((kind, key))
        self.counter = len(self.log)

    def hostname_routes(self, pattern: str) -> HostnameRoutes | None:
        self.reads.append(pattern)
        return self.patterns.get(pattern)

    def script(self, ref: ScriptRef) -> ScriptVersion | None:
        self.reads.append(str(ref))
        return self.scripts.get(ref)

    def sequence(self) -> int:
        return self.counter

    def changes_since(self, sequence: int) -> tuple[int, Sequence[tuple[str, str]] | None]:
        if sequence < self.pruned_below:
            return len(self.log), None
        return len(self.log), self.log[sequence:]
