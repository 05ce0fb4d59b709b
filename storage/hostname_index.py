"""Keeps the one record a hostname pattern that the data plane reads, in the transaction that changes its routes."""

from __future__ import annotations

from model.scripts import HostnameRoutes
from storage.changes import record_change
from storage.control_records import ROUTES_PER_PATTERN, encode_hostname, to_route
from storage.database import Transaction
from storage.migrations import load_queries


def refresh_pattern(tx: Transaction, pattern: str) -> None:
    """Make the pattern's record anew and log the change. Call once after all changes of its routes."""
    sql = load_queries("control")
    rows = tx.execute(sql["routes_of_pattern"], (pattern, ROUTES_PER_PATTERN, 0))
    hostname = tx.execute(sql["hostname"], (pattern,))
    header_routes = bool(hostname and hostname[0][0])
    if rows or header_routes:
        routes = tuple(to_route(row).route for row in rows)
        tx.execute(
            sql["put_hostname_record"], (pattern, encode_hostname(HostnameRoutes(routes, header_routes)))
        )
    else:
        tx.execute(sql["delete_hostname_record"], (pattern,))
    record_change(tx, "route", pattern)
