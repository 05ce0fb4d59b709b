"""The schema of a data folder, and of a platform's database, brought up to this release: what every start does."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.data_folder import data_option, require_folder, root_key, root_key_option, storage_errors
from cli.database_options import database_address, database_options
from cli.errors import BadUsage
from cli.output import print_json, say
from cli.params import json_option
from storage.changes import ChangeSequence
from storage.control_store import ControlStore
from storage.data_files import migrations_of, pending, present, shared_platform, streams_of
from storage.database import Database
from storage.token_store import TokenStore

if TYPE_CHECKING:  # its client takes a while to load, and most have no use for it
    from storage.postgres.address import DatabaseAddress
    from storage.postgres.schema import PgMigrations

#: Of a platform of several machines these are replicas: what is written to them goes through its log.
_REPLICAS = ("control.db", "tokens.db")


@dataclass(frozen=True, slots=True)
class _Stream:
    """One numbered sequence of steps: where, how many steps this release has, and which of them are lacking."""

    where: str
    stream: str
    newest: int
    lacking: tuple[int, ...]


@click.command(
    short_help="Bring the schema of a data folder and of a platform's database up to this release."
)
@data_option
@root_key_option
@database_options
@click.option("--dry-run", is_flag=True, help="Say what would be done, and change nothing.")
@click.option(
    "--status", is_flag=True, help="Say of each part what it has and what it lacks; change nothing."
)
@json_option
def command(
    data: Path | None,
    root_key_file: Path | None,
    database: str | None,
    database_password_file: Path | None,
    dry_run: bool,
    status: bool,
    as_json: bool,
) -> None:
    """Apply the numbered migrations that a data folder lacks, and with --database those that PostgreSQL lacks; without
    --data those alone. `tenantry serve` does so when it starts; by hand it can be done, or looked at, before that. Back
    up first. Processes of the release before that are running go on: what they ask still holds; one that starts
    afterwards has to be of this release.

    \b
    Example:
      tenantry migrate --data ./data --dry-run
    """
    address = database_address(database, database_password_file)
    folder = None if data is None and address is not None else require_folder(data)
    with storage_errors("migrate"):
        shared = folder is not None and shared_platform(folder)
        if folder is not None and address is not None and not shared:
            raise BadUsage(f"{folder} is no machine of a platform", hint="leave --data or --database out")
        # All are looked at before any is changed: one of a newer release stops it.
        found = [] if address is None else asyncio.run(_look_there(address))
        found += [] if folder is None else _look_here(folder)
        if not (dry_run or status):
            if shared and address is None and any(each.lacking for each in found if each.where in _REPLICAS):
                raise BadUsage(
                    "what several machines share is migrated for all of them: name their --database"
                )
            if address is not None:
                asyncio.run(_migrate_there(address))
            if folder is not None:
                _migrate_here(folder, root_key_file, address if shared else None, found)
    _tell(found, status=status, dry_run=dry_run, as_json=as_json)


def _look_here(folder: Path) -> list[_Stream]:
    found = []
    for name in present(folder):
        lacking = pending(folder, name)
        for stream, newest in streams_of(name):
            numbers = tuple(step.number for step in lacking if step.stream == stream)
            found.append(_Stream(name, stream, newest, numbers))
    return found


async def _look_there(address: DatabaseAddress) -> list[_Stream]:
    from storage.postgres.connection import PgDatabase

    database = PgDatabase(address, name="tenantry migrate", connections=1)
    try:
        found = []
        for stream, migrations in _there():
            missing = await migrations.missing(database)
            steps = [step.number for step in migrations.steps if f"{step.stream} {step.number}" in missing]
            found.append(_Stream(str(address), stream, len(migrations.steps), tuple(steps)))
        return found
    finally:
        await database.close()


def _there() -> list[tuple[str, PgMigrations]]:
    from storage.postgres.schema import PLATFORM_STREAMS, PgMigrations

    return [(stream, PgMigrations.load(stream)) for stream in PLATFORM_STREAMS]


async def _migrate_there(address: DatabaseAddress) -> None:
    from storage.postgres.connection import PgDatabase
    from storage.postgres.schema import PLATFORM_STREAMS, PgMigrations

    database = PgDatabase(address, name="tenantry migrate", connections=1)
    try:
        await PgMigrations.load(*PLATFORM_STREAMS).apply(database)
    finally:
        await database.close()


def _migrate_here(
    folder: Path, root_key_file: Path | None, address: DatabaseAddress | None, found: list[_Stream]
) -> None:
    """`address`: of the platform, where the folder is one of its machines."""
    lacking = {each.where for each in found if each.lacking}
    if address is not None and lacking & set(_REPLICAS):
        from cli.replicas import joined

        with joined(folder, address, root_key(folder, root_key_file), root_key_file) as replicas:
            if replicas is not None:
                sequence = ChangeSequence(folder / "changes.seq")
                ControlStore.open(folder / "control.db", sequence, replication=replicas.control).close()
                sequence.close()
                TokenStore.open(folder / "tokens.db", replicas.tokens).close()
        lacking -= set(_REPLICAS)
    for name in sorted(lacking & set(present(folder))):
        Database.open(folder / name, migrations_of(name)).close()


def _tell(found: list[_Stream], *, status: bool, dry_run: bool, as_json: bool) -> None:
    steps = [(each, number) for each in found for number in each.lacking]
    if as_json:
        shown: dict[str, object] = {
            "applied": not (dry_run or status),
            "migrations": [
                {"file": each.where, "stream": each.stream, "number": number} for each, number in steps
            ],
        }
        if status:
            shown["streams"] = [
                {
                    "file": each.where,
                    "stream": each.stream,
                    "newest": each.newest,
                    "lacking": list(each.lacking),
                }
                for each in found
            ]
        print_json(shown)
        return
    if status:
        for each in found:
            lacks = f", lacks {', '.join(map(str, each.lacking))}" if each.lacking else ""
            say(f"{each.where}: {each.stream} of {each.newest}{lacks}")
        return
    for each, number in steps:
        say(f"{'would apply' if dry_run else 'applied'} {each.stream} {number} to {each.where}")
    if not steps:
        say("the schema is that of this release")
