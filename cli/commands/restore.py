"""A data folder made of a backup."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from cli.data_folder import data_option, require_name, root_key_option, told
from cli.errors import BadUsage, CliError
from cli.output import note, say
from model.errors import PlatformFault
from storage.backup_manifest import Manifest, OtherRootKey
from storage.keys import RootKey, RootKeyMissing
from storage.restore import FolderInUse, restore


@click.command(short_help="Make a data folder of a backup.")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@data_option
@root_key_option
@click.option(
    "--without-root-key",
    is_flag=True,
    help="The root key is lost: restore all the same. Each secret has to be set anew.",
)
def command(file: Path, data: Path | None, root_key_file: Path | None, without_root_key: bool) -> None:
    """Unpack FILE into the folder --data, which must be empty but for the root key.

    Every file is compared with the manifest before the folder has any of it, and the manifest with the root key
    under which the backup was made. Tokens are those of the backup; the next start makes an admin token.

    \b
    Example:
      install -m 600 /keys/root-key ./data/root-key
      tenantry restore /backups/2026-11-26.tar.gz --data ./data
    """
    folder = require_name(data)
    path = (root_key_file or folder / "root-key").absolute()
    if without_root_key and root_key_file is not None:
        raise BadUsage("either --root-key-file or --without-root-key")
    # A key in the folder is kept; of the rest there must be nothing.
    keep = frozenset({path.name}) if path.parent == folder and not without_root_key else frozenset[str]()
    manifest = _restore(file, folder, None if without_root_key else path, keep)
    made = datetime.fromtimestamp(manifest.made_at_ms / 1000, UTC)
    say(
        f"{folder}: as of {made:%Y-%m-%d %H:%M:%S} UTC, change {manifest.change}, {len(manifest.members)} files"
    )
    say(f"next: tenantry fsck --data {folder}, then tenantry serve --data {folder}")
    if without_root_key:
        note("the next start makes a new root key with --new-root-key; set each secret and material anew")
    if manifest.shared_platform:
        note("KV, queues and cron of this platform are in PostgreSQL: restore these with pg_restore")


def _restore(file: Path, folder: Path, key_path: Path | None, keep: frozenset[str]) -> Manifest:
    try:
        root = None if key_path is None else RootKey.load(key_path)
        return restore(file, folder, root, keep)
    except RootKeyMissing as error:
        raise CliError(
            f"the root key {key_path} is not there, and only it opens the secrets in the backup",
            hint="put it there with mode 0600, or name its place with --root-key-file; if it is lost:"
            " --without-root-key",
        ) from error
    except OtherRootKey as error:
        raise CliError(
            error.message, hint="give the root key that the host had then, or --without-root-key"
        ) from error
    except FolderInUse as error:
        raise CliError(error.message, hint="name a new folder with --data") from error
    except PlatformFault as error:
        raise told(error, str(file)) from error
