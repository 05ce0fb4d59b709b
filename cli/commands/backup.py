"""One file that holds all a host keeps, but for its keys; made while the host runs, or when it is stopped."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import click

from cli.data_folder import data_option, require_folder, root_key, root_key_option, storage_errors
from cli.errors import CliError, ExitCode
from cli.object_places import named_bucket, objects_options
from cli.output import note, print_json, printable, say, size
from cli.params import json_option
from control.key_rotation import next_key_path
from model.clock import unix_ms
from storage.backup import back_up


@click.command(short_help="Copy the data folder of a host, in use or not, into one file.")
@click.argument("file", type=click.Path(path_type=Path))
@data_option
@root_key_option
@objects_options
@json_option
def command(
    file: Path,
    data: Path | None,
    root_key_file: Path | None,
    objects: str | None,
    objects_endpoint: str | None,
    objects_region: str | None,
    objects_key_file: str | None,
    as_json: bool,
) -> int:
    """Write FILE (mode 0600): workers, routes, settings, sealed secrets, tokens' hashes, KV, queues, databases, audit.

    The host may be running: nobody waits. The root key is not in it (keep it elsewhere: without it the secrets are
    lost), nor is the admin token. FILE must not exist; its folder needs room for it and for the largest database.
    Modules that the folder lacks come from the bucket, where --objects names it. Exit code 1 when something should
    have been in it and is not there.

    \b
    Example:
      tenantry backup /backups/2026-11-26.tar.gz --data ./data
    """
    folder = require_folder(data)
    if next_key_path(root_key_file or folder / "root-key").exists():
        raise CliError("the root key is being rotated", hint="back up when `tenantry secrets rotate` is done")
    root = root_key(folder, root_key_file)
    with storage_errors("backup"):
        remote = named_bucket(objects, objects_endpoint, objects_region, objects_key_file)
        made = back_up(folder, file.absolute(), root, metadata.version("tenantry"), unix_ms(), remote)
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
    return ExitCode.REFUSED if made.lacks else ExitCode.OK
