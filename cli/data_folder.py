"""For commands that open the data folder itself: whose it is, and where its root key is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import click

from cli.errors import BadUsage, CliError
from model.errors import PlatformFault
from storage.keys import RootKey, RootKeyMissing

F = TypeVar("F", bound=Callable[..., object])


def data_option(function: F) -> F:
    """--data, required."""
    return click.option(
        "--data", type=click.Path(path_type=Path), envvar="TENANTRY_DATA", help="The host's data folder."
    )(function)


def root_key_option(function: F) -> F:
    return click.option(
        "--root-key-file",
        type=click.Path(path_type=Path),
        envvar="TENANTRY_ROOT_KEY_FILE",
        help="File of the root key; DATA/root-key by default.",
    )(function)


def require_folder(data: Path | None) -> Path:
    """A data folder that is there and ours. Raises BadUsage, CliError."""
    folder = require_name(data)
    path = folder / "control.db"
    try:
        owner = path.stat().st_uid
    except OSError as error:
        raise CliError(
            f"{folder} is no data folder of a host: {path.name}: {error.strerror}",
            hint="the first start of `tenantry serve --data DIR` makes one",
        ) from error
    if owner != os.geteuid():
        # SQLite's side files would become ours, and the host could not write its own database any more.
        raise CliError(f"{path} is user {owner}'s, you are {os.geteuid()}", hint="run this as that user")
    return folder


def require_name(data: Path | None) -> Path:
    """Raises BadUsage."""
    if data is None:
        raise BadUsage("--data DIR is missing (or TENANTRY_DATA)")
    return data.absolute()


def root_key(data: Path, given: Path | None) -> RootKey:
    """Raises CliError."""
    path = given or data / "root-key"
    try:
        return RootKey.load(path)
    except RootKeyMissing as error:
        raise CliError(
            f"the root key {path} is not there", hint="name its place with --root-key-file"
        ) from error
    except PlatformFault as error:
        raise told(error, str(path)) from error


@contextmanager
def storage_errors(where: str) -> Iterator[None]:
    """What the storage says becomes a CliError."""
    try:
        yield
    except PlatformFault as error:
        raise told(error, where) from error


def told(error: PlatformFault, where: str) -> CliError:
    detail = f" ({error.detail})" if error.detail else ""
    return CliError(f"{where}: {error.message}{detail}")
