"""Looks for what usually is wrong: on this machine, in the data folder, with the running host."""

from __future__ import annotations

import json
import os
import resource
import stat
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import click

from cli.checks import (
    Check,
    State,
    check_accelerator,
    check_confinement,
    check_folder,
    check_groups,
    check_javascript,
    check_map_count,
    check_nofile,
    check_private,
    check_process,
    check_python,
    check_replication,
    check_wasmtime,
)
from cli.client import ApiClient
from cli.errors import BadUsage, CliError, ExitCode
from cli.javascript_engine import why_no_engine
from cli.object_places import named_bucket, objects_options
from cli.output import print_json, printable, say
from cli.params import ACCOUNT, find_token, json_option
from cli.stores import read_password
from processes.confinement_probe import probe_confinement
from runtime.capi.accelerator.loading import available
from storage.failures import StorageError
from storage.object_bucket import BucketObjects
from storage.postgres.address import InvalidDatabaseUrl, parse_database_url

#: Of the data folder, what would give a reader the tenants' secrets or the API.
PRIVATE_FILES = ("root-key", "admin-token", "tokens.db")


@click.command(short_help="Check this machine, the data folder and the running host.")
@click.option(
    "--url", default="http://127.0.0.1:8788", envvar="TENANTRY_URL", help="Where the control API is."
)
@click.option("--account", type=ACCOUNT, default="default", envvar="TENANTRY_ACCOUNT", help="The account id.")
@click.option(
    "--data", type=click.Path(path_type=Path), envvar="TENANTRY_DATA", help="The data folder to check."
)
@click.option(
    "--database", metavar="URL", envvar="TENANTRY_DATABASE", help="The PostgreSQL database to check."
)
@click.option(
    "--database-password-file",
    type=click.Path(path_type=Path),
    envvar="TENANTRY_DATABASE_PASSWORD_FILE",
    help="The password of its user; or TENANTRY_DATABASE_PASSWORD.",
)
@objects_options
@json_option
def command(
    url: str,
    account: str,
    data: Path | None,
    database: str | None,
    database_password_file: Path | None,
    objects: str | None,
    objects_endpoint: str | None,
    objects_region: str | None,
    objects_key_file: str | None,
    as_json: bool,
) -> int:
    """Check what a host needs, and say how to put right what is not. Changes nothing.

    Exit code 1 when a check failed; warnings alone are 0.

    \b
    Example:
      tenantry doctor --data ./data
    """
    checks = [
        *check_machine(),
        *check_data(data),
        *([] if database is None else check_postgres(database, database_password_file)),
        *check_objects(named_bucket(objects, objects_endpoint, objects_region, objects_key_file)),
        *check_host(url, account, data),
    ]
    if as_json:
        print_json([vars_of(check) for check in checks])
    else:
        for check in checks:
            say(f"{check.state:8} {check.name}: {printable(check.detail)}")
            if check.fix:
                say(f"{'':8}   → {printable(check.fix)}")
    return ExitCode.REFUSED if any(c.state is State.FAILED for c in checks) else ExitCode.OK


def vars_of(check: Check) -> dict[str, str]:
    return {"name": check.name, "state": check.state, "detail": check.detail, "fix": check.fix}


def check_machine() -> Iterator[Check]:
    yield check_python(sys.version_info[:2])
    yield check_wasmtime(_version("wasmtime"), _requirements())
    yield check_accelerator(available())
    yield check_javascript(why_no_engine())
    yield check_map_count(_read_int(Path("/proc/sys/vm/max_map_count")))
    yield check_nofile(*resource.getrlimit(resource.RLIMIT_NOFILE))
    yield check_confinement({kind: (str(got), got.missing) for kind, got in probe_confinement().items()})


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _requirements() -> list[str]:
    try:
        return metadata.requires("tenantry") or []
    except metadata.PackageNotFoundError:
        return []


def _read_int(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def check_data(data: Path | None) -> Iterator[Check]:
    if data is None:
        yield Check("data folder", State.WARNING, "not checked", "pass --data DIR, or set TENANTRY_DATA")
        return
    try:
        folder = data.stat()
    except OSError as error:
        fix = f"tenantry serve --data {data} makes it"
        yield Check("data folder", State.FAILED, f"{data}: {error.strerror}", fix)
        return
    if not stat.S_ISDIR(folder.st_mode):
        yield Check("data folder", State.FAILED, f"{data} is no folder", "name a folder")
        return
    me = os.geteuid()
    yield check_folder(str(data), stat.S_IMODE(folder.st_mode), folder.st_uid, me)
    for name in PRIVATE_FILES:
        try:
            found = (data / name).stat()
        except FileNotFoundError:
            continue  # the root key may live elsewhere, and all of them come with the first start
        except OSError as error:
            yield Check(name, State.FAILED, f"{data / name}: {error.strerror}", "run as the folder's owner")
            continue
        yield check_private(name, str(data / name), stat.S_IMODE(found.st_mode), found.st_uid, me)


def check_postgres(url: str, password_file: Path | None) -> list[Check]:
    from cli.database_check import check_database  # only who has one loads its client

    try:
        address = parse_database_url(url)
    except InvalidDatabaseUrl as error:
        raise BadUsage(f"--database: {error}", hint="tenantry doctor --help") from None
    password = os.environ.get("TENANTRY_DATABASE_PASSWORD") or None
    if password_file is not None:
        password = read_password(password_file)
    return check_database(address.with_password(password))


def check_objects(bucket: BucketObjects | None) -> Iterator[Check]:
    """Asks for one name of the list, and changes nothing."""
    if bucket is None:
        return
    try:
        bucket.probe()
    except StorageError as error:
        fix = "look at --objects, its endpoint, key and policy: see docs/object-storage.md"
        yield Check("objects", State.FAILED, f"{error.message} ({error.detail})", fix)
    else:
        yield Check("objects", State.OK, f"{bucket.where} answers")


def check_host(url: str, account: str, data: Path | None) -> Iterator[Check]:
    try:
        client = ApiClient(url, "", account)
        alive = client.exchange("GET", "/healthz", timeout_s=5)
        ready = client.exchange("GET", "/readyz", timeout_s=5)
    except CliError as error:
        yield Check("host", State.FAILED, error.message, error.hint)
        return
    if alive.status != 200:
        yield Check("host", State.FAILED, f"{url}/healthz answered {alive.status}", "look at the host's log")
        return
    yield Check("host", State.OK, f"{url} answers")
    if ready.status == 200:
        yield Check("ready", State.OK, "it takes requests")
    else:
        yield Check("ready", State.FAILED, client.refusal(ready).message, "look at the host's log")
    yield from _check_replication(ready.body)
    yield _check_token(url, account, data)
    yield from _check_processes(url, account, data)
    yield from _check_groups(url, account, data)


def _check_replication(ready: bytes) -> list[Check]:
    """`ready`: what /readyz answered; it tells of replicas on a machine of several."""
    try:
        rows = json.loads(ready)["result"]["replication"]
    except (ValueError, KeyError, TypeError):
        return []
    return list(map(check_replication, rows))


def _check_processes(url: str, account: str, data: Path | None) -> list[Check]:
    try:
        client = ApiClient(url, find_token(data, given=False), account)
        return list(map(check_process, client.get("/processes", timeout_s=5)))
    except CliError:
        return []  # the check of the token has said why


def _check_groups(url: str, account: str, data: Path | None) -> list[Check]:
    try:
        client = ApiClient(url, find_token(data, given=False), account)
        metrics = client.exchange("GET", "/metrics", timeout_s=5)
    except CliError:
        return []  # the check of the token has said why
    return check_groups(metrics.body.decode("utf-8", "replace")) if metrics.status == 200 else []


def _check_token(url: str, account: str, data: Path | None) -> Check:
    try:
        client = ApiClient(url, find_token(data, given=False), account)
        client.get(client.path("workers", "dispatch", "namespaces"), {"page": 1, "per_page": 1}, timeout_s=5)
    except CliError as error:
        return Check("token", State.FAILED, error.message, error.hint)
    return Check("token", State.OK, f"may act in account {account}")
