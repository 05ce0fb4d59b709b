"""Whether responses that are kept belong to somebody who is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from storage.cache_store import owner_of, tenant_of
from storage.data_files import pending, present
from storage.failures import SchemaMismatch, StorageError
from storage.fsck_findings import Finding, Repair, warning
from storage.migrations import load_queries
from storage.sqlite_files import opened
from storage.transaction import Row

NAME: Final = "cache.db"
#: As TenantRecords.gone.
_IS_GONE: Final = (
    "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM namespaces WHERE name = ?1) OR EXISTS ("
    " SELECT 1 FROM tenant_deletions WHERE namespace = ?1 AND tenant = ?2 AND ended_at_ms IS NOT NULL AND ("
    " ended_at_ms > ?3 OR NOT EXISTS (SELECT 1 FROM scripts WHERE namespace = ?1 AND tenant = ?2)))"
)


def check_cache(data: Path) -> Iterator[Finding]:
    """Nobody can reach what is found, and a host that runs puts it right by itself."""
    held = _held(data)
    with opened(data / "control.db") as control:
        for namespace, tenant, since_ms in map(tenant_of, held):
            if control.read(_IS_GONE, (namespace, tenant, since_ms)):
                what = f"responses that were kept for tenant {namespace}/{tenant}, which was deleted"
                told = f"{what}: a host forgets them within a minute"
                yield warning("orphans", told, Repair.RESPONSES, owner_of(namespace, tenant))


def _held(data: Path) -> list[Row]:
    """Nothing of a file that is of no use: `fsck.check_files` tells of it."""
    try:
        if NAME not in present(data) or pending(data, NAME):
            return []
        with opened(data / NAME) as file:
            return file.read(load_queries("cache")["tenants"])
    except (StorageError, SchemaMismatch):
        return []
