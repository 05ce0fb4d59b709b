"""For commands that open a data folder and, where it is one machine of several, what these share in PostgreSQL."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from cli.errors import BadUsage

if TYPE_CHECKING:  # its client takes a while to load, and most have no use for it
    from storage.postgres.address import DatabaseAddress

F = TypeVar("F", bound=Callable[..., object])


def database_options(function: F) -> F:
    """--database and --database-password-file, as of `serve`."""
    function = click.option(
        "--database-password-file",
        type=click.Path(path_type=Path),
        envvar="TENANTRY_DATABASE_PASSWORD_FILE",
        help="The password of its user; or TENANTRY_DATABASE_PASSWORD.",
    )(function)
    return click.option(
        "--database",
        metavar="URL",
        envvar="TENANTRY_DATABASE",
        help="The platform's database, where the host is one machine of several.",
    )(function)


def database_address(url: str | None, password_file: Path | None) -> DatabaseAddress | None:
    """With its password; None where none is named. Raises BadUsage, CliError."""
    if url is None:
        return None
    from cli.stores import read_password
    from storage.postgres.address import InvalidDatabaseUrl, parse_database_url

    try:
        address = parse_database_url(url)
    except InvalidDatabaseUrl as error:
        raise BadUsage(f"--database: {error}") from error
    password = os.environ.get("TENANTRY_DATABASE_PASSWORD") or None
    return address.with_password(password if password_file is None else read_password(password_file))
