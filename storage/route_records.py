"""Routes, and what is set for hostnames. Which route wins is `dispatch.routing`'s business; a tie is refused here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from model.route_ties import ties
from model.scripts import Route
from storage.control_failures import ChangeRefused, Rule, listed
from storage.control_records import (
    ROUTES_PER_PATTERN,
    HostnameRecord,
    Read,
    RouteRecord,
    encode_conditions,
    namespace_key,
    new_id,
    to_owner,
    to_route,
)
from storage.database import Database, Transaction
from storage.hostname_index import refresh_pattern
from storage.migrations import load_queries
from storage.namespace_records import require_namespace
from storage.script_removal import require_script
from storage.tenant_quotas import Quota
from storage.tenant_room import require_room


class RouteRecords:
    """Patterns, prefixes and headers come in their one spelling (`model.hostname.parse_pattern`)."""

    def __init__(self, database: Database, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._now_ms = now_ms
        self._sql = load_queries("control")

    def get(self, route_id: str) -> RouteRecord:
        """Raises ChangeRefused: route_missing."""
        return self._get(self._database.read, route_id)

    async def page(self, pattern: str | None, limit: int, offset: int) -> tuple[list[RouteRecord], int]:
        """A page by pattern, longest prefix first, and how many there are in all."""
        of_pattern, key = ("", ()) if pattern is None else ("_of_pattern", (pattern,))
        rows = await self._database.read_in_thread(self._sql[f"routes{of_pattern}"], (*key, limit, offset))
        count: int = self._database.read(self._sql[f"count_routes{of_pattern}"], key)[0][0]
        return [to_route(row) for row in rows], count

    async def create(self, route: Route) -> RouteRecord:
        """`route.id` is not used. Raises ChangeRefused: route_tie, header_routes_off, script_missing and its like."""
        now, route = self._now_ms(), replace(route, id=new_id())

        def work(tx: Transaction) -> RouteRecord:
            self._put(tx, route, now)
            refresh_pattern(tx, route.pattern)
            return RouteRecord(route, now)

        return await self._database.write(work)

    async def replace(self, route: Route) -> RouteRecord:
        """The route with the id `route.id` becomes `route`. Raises as `create`, and route_missing."""

        def work(tx: Transaction) -> RouteRecord:
            before = self._get(tx.execute, route.id)
            self._put(tx, route, before.created_at_ms)
            for pattern in dict.fromkeys((before.route.pattern, route.pattern)):
                refresh_pattern(tx, pattern)
            return RouteRecord(route, before.created_at_ms)

        return await self._database.write(work)

    async def delete(self, route_id: str) -> None:
        """Raises ChangeRefused: route_missing."""

        def work(tx: Transaction) -> None:
            before = self._get(tx.execute, route_id)
            tx.execute(self._sql["delete_route"], (route_id,))
            refresh_pattern(tx, before.route.pattern)

        await self._database.write(work)

    def hostname(self, pattern: str) -> HostnameRecord:
        """Raises ChangeRefused: hostname_missing."""
        rows = self._database.read(self._sql["hostname"], (pattern,))
        if not rows:
            raise _hostname_missing(pattern)
        return HostnameRecord(pattern, bool(rows[0][0]), rows[0][1])

    async def put_hostname(self, pattern: str, *, header_routes: bool, force: bool = False) -> HostnameRecord:
        """Raises ChangeRefused: header_routes_in_use; with `force` these routes are removed."""
        now = self._now_ms()

        def work(tx: Transaction) -> HostnameRecord:
            if not header_routes:
                self._drop_header_routes(tx, pattern, force=force)
            tx.execute(self._sql["put_hostname"], (pattern, int(header_routes), now))
            refresh_pattern(tx, pattern)
            return HostnameRecord(pattern, header_routes, now)

        return await self._database.write(work)

    async def delete_hostname(self, pattern: str, *, force: bool = False) -> None:
        """Back to the defaults; its routes stay. Raises ChangeRefused: hostname_missing, header_routes_in_use."""

        def work(tx: Transaction) -> None:
            self._drop_header_routes(tx, pattern, force=force)
            tx.execute(self._sql["delete_hostname"], (pattern,))
            if tx.changes() == 0:
                raise _hostname_missing(pattern)
            refresh_pattern(tx, pattern)

        await self._database.write(work)

    def _get(self, read: Read, route_id: str) -> RouteRecord:
        rows = read(self._sql["route"], (route_id,))
        if not rows:
            raise ChangeRefused(Rule.ROUTE_MISSING, f"there is no route {route_id[:80]!r}")
        return to_route(rows[0])

    def _put(self, tx: Transaction, route: Route, created_at_ms: int) -> None:
        conditions = encode_conditions(route.headers)
        if route.headers and not self._header_routes_on(tx.execute, route.pattern):
            raise ChangeRefused(
                Rule.HEADER_ROUTES_OFF,
                f"headers: header routes are off for {route.pattern!r}; PUT"
                f' …/workers/dispatch/hostnames/{route.pattern} {{"header_routes": true}} turns them on',
                "headers",
            )
        others = (
            to_route(row).route for row in tx.execute(self._sql["routes_of_pattern"], (route.pattern, -1, 0))
        )
        tied = next((other for other in others if other.id != route.id and ties(route, other)), None)
        if tied is not None:
            raise ChangeRefused(
                Rule.ROUTE_TIE,
                f"route {tied.id} ties with it: a request could match both, and neither path_prefix nor the number"
                " of headers says which goes first; change one of the two, or replace that route",
                "hostname",
            )
        if target := route.target.script:
            if target.namespace is not None:
                require_namespace(tx.execute, target.namespace, "target.namespace")
            require_script(tx.execute, target, "target.script")
            if target.namespace is not None and not tx.execute(self._sql["route"], (route.id,)):
                key = (target.namespace, target.script)
                row = tx.execute(load_queries("tenants")["route_owner"], key)[0]
                require_room(tx.execute, to_owner(row[1], row[0]), Quota.ROUTES)
        count = tx.execute(self._sql["count_routes_of_pattern"], (route.pattern,))[0][0]
        if count >= ROUTES_PER_PATTERN and not tx.execute(self._sql["route"], (route.id,)):
            raise ChangeRefused(
                Rule.ROUTE_TIE,
                f"hostname: {route.pattern!r} has {count} routes; at most {ROUTES_PER_PATTERN} are allowed: a"
                " dispatch worker decides among more",
                "hostname",
            )
        namespace, script = (namespace_key(target.namespace), target.script) if target else ("", "")
        tx.execute(
            self._sql["put_route"],
            (
                route.id,
                route.pattern,
                route.path_prefix,
                conditions,
                namespace,
                script,
                route.target.hook or "",
                created_at_ms,
            ),
        )

    def _header_routes_on(self, read: Read, pattern: str) -> bool:
        rows = read(self._sql["hostname"], (pattern,))
        return bool(rows and rows[0][0])

    def _drop_header_routes(self, tx: Transaction, pattern: str, *, force: bool) -> None:
        routes = [row[0] for row in tx.execute(self._sql["header_routes_of_pattern"], (pattern,))]
        if routes and not force:
            raise ChangeRefused(
                Rule.HEADER_ROUTES_IN_USE,
                f"{pattern!r} has header routes: {listed(routes)}; delete these first, or add ?force=true to"
                " remove them",
                "header_routes",
            )
        for route_id in routes:
            tx.execute(self._sql["delete_route"], (route_id,))


def _hostname_missing(pattern: str) -> ChangeRefused:
    return ChangeRefused(Rule.HOSTNAME_MISSING, f"nothing was set for hostname {pattern!r}")
