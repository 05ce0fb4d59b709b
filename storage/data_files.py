"""What a data folder is made of, for who looks after it: the database files, their migrations, and their order."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from storage.failures import SchemaMismatch
from storage.migrations import Migration, Migrations
from storage.sqlite_files import opened

#: In the order in which they are copied and migrated. Control's first: it says what there is; what the others hold of a
#: resource may then be newer than that, and never lacks.
DATABASES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "control.db": ("changes", "control", "tenants"),
        "tokens.db": ("tokens",),
        "kv.db": ("kv",),
        "queues.db": ("queues",),
        "cron.db": ("cron",),
        "audit.db": ("audit",),
        "analytics.db": ("analytics",),
        "cache.db": ("cache",),
    }
)
#: Of them, what fills again by itself: in no backup, and nothing is lost with it.
CACHES: Final = frozenset({"cache.db"})
#: On a platform of several machines these are in PostgreSQL.
SHARED: Final = frozenset({"kv.db", "queues.db", "cron.db"})
OBJECTS: Final = "objects"
D1: Final = "d1"


def migrations_of(name: str) -> Migrations:
    return Migrations.load(*DATABASES[name])


def present(data: Path) -> list[str]:
    """Those of the database files that are there: a folder of before a release lacks those that came with it."""
    return [name for name in DATABASES if (data / name).exists() and (data / name).stat().st_size]


def lasting(data: Path) -> list[str]:
    """Those that are there, and that a backup has."""
    return [name for name in present(data) if name not in CACHES]


def pending(data: Path, name: str) -> list[Migration]:
    """Raises SchemaMismatch for a file of a newer release, StorageError."""
    with opened(data / name) as file:
        return migrations_of(name).pending(file.applied())


def streams_of(name: str) -> list[tuple[str, int]]:
    """Each stream of a file's migrations, and the number of its newest step."""
    newest = {step.stream: step.number for step in migrations_of(name).steps}
    return [(stream, newest[stream]) for stream in DATABASES[name]]


def require_current(data: Path) -> None:
    """Raises SchemaMismatch: it names the first step that is lacking; StorageError."""
    for name in lasting(data):
        for step in pending(data, name):
            raise SchemaMismatch(
                f"{name} lacks migration {step.stream} {step.number}: run `tenantry migrate`, or start the host once"
            )


def shared_platform(data: Path) -> bool:
    """Whether the folder is one machine of a platform whose state is in PostgreSQL."""
    if "control.db" not in present(data):
        return False
    with opened(data / "control.db") as file:
        return file.has_table("replication") and bool(file.read("SELECT 1 FROM replication WHERE joined"))
