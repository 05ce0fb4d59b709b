"""One file that holds all a host keeps, but for its keys; made while the host runs, or when it is stopped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from cli.data_folder import data_option, require_folder, root_key, root_key_option, storage_errors
from cli.database_options import database_address, database_options
from cli.errors import BadUsage, CliError, ExitCode
from cli.object_places import named_bucket, objects_options
from cli.output import note, print_json, printable, say, size
from cli.params import json_option
from control.key_rotation import next_key_path
from model.clock import unix_ms
from storage.backup import CopyShared, back_up
from storage.data_files import shared_platform

if TYPE_CHECKING:  # its client takes a while to load, and most have no use for it
    from storage.postgres.address import DatabaseAddress

#: Of one database.
_COPY_S: Final = 3600.0


@click.command(short_help="Copy the data folder of a host, in use or not, into one file.")
@click.argument("file", type=click.Path(path_type=Path))
@data_option
@root_key_option
@database_options
@objects_options
@json_option
def command(
    file: Path,
    data: Path | None,
    root_key_file: Path | None,
    database: str | None,
    database_password_file: Path | None,
    objects: str | None,
    objects_endpoint: str | None,
    objects_region: str | None,
    objects_key_file: str | None,
    as_json: bool,
) -> int:
    """Write FILE (mode 0600): workers, routes, settings, sealed secrets, tokens' hashes, KV, queues, databases, audit.

    The host may be running: nobody waits. The root key is not in it (keep it elsewhere: without it the secrets are
    lost), nor is the admin token. FILE must not exist; its folder needs room for it and for the largest database.
    Modules that the folder lacks come from the bucket, where --objects names it. Of one machine of several, SQL
    databases come from the platform's --database; without it they are as this machine had them last. Exit code 1 when
    something should have been in it and is not there.

    \b
    Example:
      tenantry backup /backups/2026-11-26.tar.gz --data ./data
    """
    folder = require_folder(data)
    if next_key_path(root_key_file or folder / "root-key").exists():
        raise CliError("the root key is being rotated", hint="back up when `tenantry secrets rotate` is done")
    root = root_key(folder, root_key_file)
    address = database_address(database, database_password_file)
    with storage_errors("backup"):
        remote = named_bucket(objects, objects_endpoint, objects_region, objects_key_file)
        if address is not None and not shared_platform(folder):
            raise BadUsage(
                f"{folder} is no machine of a platform: all that it has is in it", hint="leave --database out"
            )
        with _shared_databases(address) as shared:
            release = metadata.version("tenantry")
            made = back_up(folder, file.absolute(), root, release, unix_ms(), remote, shared)
    manifest = made.manifest
    if as_json:
        print_json(
            {
                "file": str(file),
                "change": manifest.change,
                "root_key_id": manifest.root_key_id,
                "files": len(manifest.members),
                "bytes": sum(member.size for member in manifest.members),
                "packed_bytes": file.stat().st_size,
                "shared_platform": manifest.shared_platform,
                "databases_may_be_old": manifest.shared_platform and address is None,
                "lacks": made.lacks,
            }
        )
    else:
        whole = sum(member.size for member in manifest.members)
        say(f"{file}: {len(manifest.members)} files, {size(whole)}, packed {size(file.stat().st_size)}")
        say(f"control's state as of change {manifest.change}; sealed under root key {manifest.root_key_id}")
    for lack in made.lacks:
        note(f"not in it: {printable(lack)}")
    if manifest.shared_platform:
        note(
            "KV, queues and cron of this platform are in PostgreSQL and not in it: back these up with pg_dump"
        )
        if address is None:
            note(
                "SQL databases are as this machine had them last, and may be old: name --database for them as they are"
            )
    return ExitCode.REFUSED if made.lacks else ExitCode.OK


@contextmanager
def _shared_databases(address: DatabaseAddress | None) -> Iterator[CopyShared | None]:
    if address is None:
        yield None
        return
    from storage.d1.shared_copy import copy_shared
    from storage.replication.postgres_thread import PostgresThread

    thread = PostgresThread(address, "tenantry backup")
    try:
        yield lambda database_id, to: thread.call(lambda pg: copy_shared(pg, database_id, to), _COPY_S)
    finally:
        thread.close()
