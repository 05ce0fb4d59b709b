"""Whether data points belong to somebody who is there, and are counted right."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from storage.fsck_findings import Finding, warning
from storage.sqlite_files import opened

NAME: Final = "analytics.db"
_COUNTS: Final = (
    "SELECT d.id FROM datasets d WHERE (d.points, d.bytes) <>"
    " (SELECT count(*), ifnull(sum(p.size), 0) FROM points p WHERE p.dataset_id = d.id)"
)

_IS_GONE: Final = (
    "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM namespaces WHERE name = ?1) OR ("
    " EXISTS (SELECT 1 FROM tenant_deletions WHERE namespace = ?1 AND tenant = ?2 AND ended_at_ms IS NOT NULL)"
    " AND NOT EXISTS (SELECT 1 FROM scripts WHERE namespace = ?1 AND tenant = ?2))"
)


def check_analytics(data: Path, *, deep: bool) -> Iterator[Finding]:
    """What is found costs nobody anything that is still theirs, and a host that runs puts it right by itself."""
    with opened(data / NAME) as file:
        held = file.read("SELECT DISTINCT namespace, tenant FROM datasets WHERE namespace <> ''")
        wrong = [row[0] for row in file.read(_COUNTS)] if deep else []
    with opened(data / "control.db") as control:
        for namespace, tenant in held:
            if control.read(_IS_GONE, (namespace, tenant)):
                what = f"data points of tenant {namespace}/{tenant}, which was deleted"
                yield warning("orphans", f"{what}: a host forgets them within a minute")
    for dataset_id in wrong:
        what = f"the points of dataset {dataset_id} of {NAME} are counted wrong"
        yield warning("counts", f"{what}, which only decides whose give way")
