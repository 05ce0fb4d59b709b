"""API tokens, made by whoever may read the data folder: the way back in when the first one is lost."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.errors import BadUsage, CliError
from cli.output import print_json, say
from cli.params import json_option

if TYPE_CHECKING:
    from storage.postgres.address import DatabaseAddress


@click.group(short_help="Make an API token.")
def command() -> None:
    """API tokens. The first one is made by `tenantry serve`, in DATA/admin-token.

    \b
    Example:
      export TENANTRY_TOKEN=$(tenantry token create --local --data ./data)
    """


@command.command()
@click.option("--local", is_flag=True, help="Write it into the data folder of this machine.")
@click.option(
    "--data", type=click.Path(path_type=Path), envvar="TENANTRY_DATA", help="The host's data folder."
)
@click.option(
    "--database",
    envvar="TENANTRY_DATABASE",
    help="The platform's database, where the host is one machine of several; its password is in"
    " TENANTRY_DATABASE_PASSWORD.",
)
@click.option(
    "--root-key-file",
    type=click.Path(path_type=Path),
    envvar="TENANTRY_ROOT_KEY_FILE",
    help="File of the root key, with --database; DATA/root-key by default.",
)
@click.option("--name", default="local", show_default=True, help="What it is for, to tell it from others.")
@json_option
def create(
    local: bool, data: Path | None, database: str | None, root_key_file: Path | None, name: str, as_json: bool
) -> None:
    """Make a token that may do everything, and print it: it is shown this once and stored as a hash.
    A running host accepts it at once.

    \b
    Example:
      tenantry token create --local --data ./data --name ci
    """
    if not local:
        raise BadUsage(
            "tokens are made in the data folder so far", hint="tenantry token create --local --data DIR"
        )
    if data is None:
        raise BadUsage("--local needs --data DIR (or TENANTRY_DATA), the host's data folder")
    if not 1 <= len(name) <= 128 or not name.isprintable():
        raise BadUsage("--name: 1 to 128 printable characters are right")
    token = make_token(data, name, database, root_key_file)
    if as_json:
        print_json({"name": name, "token": token})
    else:
        say(token)


def make_token(data: Path, name: str, database: str | None = None, root_key_file: Path | None = None) -> str:
    """Add a token to DATA/tokens.db. Raises CliError when that is no data folder or is another user's."""
    path = data / "tokens.db"
    try:
        owner = path.stat().st_uid
    except OSError as error:
        raise CliError(
            f"{data} is no data folder of a host: {path.name}: {error.strerror}",
            hint="the first start of `tenantry serve --data DIR` makes one",
        ) from error
    if owner != os.geteuid():
        # SQLite's side files would become ours, and the host could not write its own database any more.
        raise CliError(f"{path} is user {owner}'s, you are {os.geteuid()}", hint="run this as that user")
    from cli.replicas import joined
    from model.errors import PlatformFault
    from storage.keys import RootKey
    from storage.token_store import TokenStore

    address = None if database is None else _address(database)
    try:
        root = None if address is None else RootKey.load(root_key_file or data / "root-key")
        with joined(data, address, root, root_key_file) as replicas:
            store = TokenStore.open(path, None if replicas is None else replicas.tokens)
            try:
                return store.create_local_token(name)
            finally:
                store.close()
    except PlatformFault as error:
        raise CliError(f"{path}: {error.message}" + (f": {error.detail}" if error.detail else "")) from error


def _address(database: str) -> DatabaseAddress:
    from storage.postgres.address import InvalidDatabaseUrl, parse_database_url

    try:
        address = parse_database_url(database)
    except InvalidDatabaseUrl as error:
        raise BadUsage(f"--database: {error}") from error
    return address.with_password(os.environ.get("TENANTRY_DATABASE_PASSWORD"))
