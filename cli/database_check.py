"""Looks at a PostgreSQL database before a host is started on it: `tenantry doctor --database`."""

from __future__ import annotations

import asyncio
from typing import Final

from cli.checks import Check, State
from storage.failures import SchemaMismatch, StorageError
from storage.postgres.address import DatabaseAddress
from storage.postgres.connection import PgDatabase
from storage.postgres.schema import PLATFORM_STREAMS, PgMigrations

_NAME: Final = "database"
_LEAST_VERSION: Final = 150_000


def check_database(address: DatabaseAddress) -> list[Check]:
    """Connects, and changes nothing."""
    return asyncio.run(_check(address))


async def _check(address: DatabaseAddress) -> list[Check]:
    database = PgDatabase(address, name="tenantry doctor", connections=1)
    try:
        rows = await database.fetch(
            "SELECT current_setting('server_version_num')::int, current_setting('server_version'),"
            " current_setting('fsync'), pg_is_in_recovery(), has_schema_privilege(current_schema(), 'CREATE')"
        )
        number, version, fsync, is_standby, may_create = rows[0]
        missing = await PgMigrations.load(*PLATFORM_STREAMS).missing(database)
    except SchemaMismatch as error:
        return [Check(_NAME, State.FAILED, f"{address}: {error.message}", "see docs/postgresql.md, Upgrade")]
    except StorageError as error:
        return [
            Check(_NAME, State.FAILED, f"{error.message} ({error.detail})", "see docs/postgresql.md, Set up")
        ]
    finally:
        await database.close()
    return judge(str(address), number, version, fsync == "on", bool(is_standby), bool(may_create), missing)


def judge(
    where: str,
    number: int,
    version: str,
    fsyncs: bool,
    is_standby: bool,
    may_create: bool,
    missing: list[str],
) -> list[Check]:
    """What was found → the checks. Pure."""
    if number < _LEAST_VERSION:
        return [Check(_NAME, State.FAILED, f"{where}: PostgreSQL {version}", "run PostgreSQL 15 or later")]
    if is_standby:
        fix = "name the primary"
        return [Check(_NAME, State.FAILED, f"{where} is a standby, which can only be read", fix)]
    if missing and not may_create:
        fix = "GRANT CREATE ON SCHEMA public TO its user"
        return [Check(_NAME, State.FAILED, f"{where}: tables are to be made, and the user may not", fix)]
    if not fsyncs:
        fix = "set fsync = on: what is acknowledged would be lost in a power cut"
        return [Check(_NAME, State.WARNING, f"{where}: fsync is off", fix)]
    steps = f"; a start takes {len(missing)} steps of the schema" if missing else ""
    return [Check(_NAME, State.OK, f"{where}, PostgreSQL {version}{steps}")]
