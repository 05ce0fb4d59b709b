"""A bucket for module bytes: how it is named, and told to control (`--objects`)."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from cli.errors import BadUsage, CliError
from storage.failures import StorageError
from storage.object_bucket import (
    REGION,
    BucketKey,
    BucketObjects,
    BucketPlace,
    parse_bucket,
    parse_endpoint,
    parse_key,
    parse_region,
)

F = TypeVar("F", bound=Callable[..., object])


def objects_options(function: F) -> F:
    """--objects and what belongs to it, as of `serve`. Read them with `named_bucket`."""
    for name, metavar, text in (
        ("objects-key-file", "PATH", "File with its access key's id and secret; or TENANTRY_OBJECTS_KEY."),
        ("objects-region", "WORD", "Its region."),
        ("objects-endpoint", "URL", "Its server; Amazon's by default."),
        ("objects", "URL", "The bucket of module bytes, where the host has one: s3://BUCKET[/PREFIX]."),
    ):
        env = f"TENANTRY_{name.upper().replace('-', '_')}"
        function = click.option(f"--{name}", metavar=metavar, envvar=env, help=text)(function)
    return function


def named_bucket(
    objects: str | None,
    objects_endpoint: str | None,
    objects_region: str | None,
    objects_key_file: str | None,
) -> BucketObjects | None:
    """For a command; None where none is named. Raises BadUsage, CliError."""
    if not objects:
        return None
    try:
        bucket, prefix = parse_bucket(objects)
        endpoint = parse_endpoint(objects_endpoint) if objects_endpoint else ""
        place = BucketPlace(bucket, prefix, endpoint, parse_region(objects_region or REGION))
    except ValueError as error:
        raise BadUsage(f"--objects: {error}") from error
    path = Path(objects_key_file) if objects_key_file else None
    return open_bucket(place, bucket_key(os.environ.get("TENANTRY_OBJECTS_KEY") or None, path))


def bucket_key(text: str | None, path: Path | None) -> BucketKey:
    """Of a file that nobody else may read, or of `text`. Raises CliError, which quotes nothing of it."""
    where = "TENANTRY_OBJECTS_KEY" if path is None else f"--objects-key-file: {path}"
    if path is not None:
        try:
            text = path.read_text()
            mode = path.stat().st_mode
        except (OSError, UnicodeDecodeError) as error:
            raise CliError(f"{where}: {getattr(error, 'strerror', None) or 'no text'}") from None
        if mode & 0o077:
            raise CliError(f"--objects-key-file: others may read {path}", hint=f"chmod 600 {path}")
    if text is None:
        raise CliError("--objects needs its access key", hint="--objects-key-file PATH, mode 0600")
    try:
        return parse_key(text)
    except ValueError as error:
        raise CliError(f"{where}: {error}") from None


def open_bucket(place: BucketPlace, key: BucketKey) -> BucketObjects:
    """Connects nowhere yet. Raises CliError."""
    # What the library would take from the environment was meant for others.
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    try:
        return BucketObjects(place, key)
    except StorageError as error:
        raise CliError(f"--objects: {error.message}") from error


def place_as_config(place: BucketPlace | None, key: BucketKey | None) -> dict[str, str] | None:
    """For control, which is told by a pipe: the key is in it."""
    if place is None or key is None:
        return None
    return {
        "bucket": place.bucket,
        "prefix": place.prefix,
        "endpoint": place.endpoint,
        "region": place.region,
        "id": key.id,
        "secret": key.secret,
    }


def place_from_config(config: Mapping[str, Any]) -> BucketPlace:
    return BucketPlace(config["bucket"], config["prefix"], config["endpoint"], config["region"])


def bucket_from_config(config: Mapping[str, Any] | None) -> BucketObjects | None:
    if config is None:
        return None
    return open_bucket(place_from_config(config), BucketKey(config["id"], config["secret"]))
