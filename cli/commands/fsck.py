"""Everything a data folder holds, looked at: whole, and fitting together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from bindings.secret_store import secret_info
from cli.data_folder import data_option, require_folder, root_key_option, storage_errors, told
from cli.database_options import database_address, database_options
from cli.errors import BadUsage, CliError, ExitCode
from cli.object_places import named_bucket, objects_options
from cli.output import note, print_json, printable, say
from cli.params import json_option
from control.key_rotation import next_key_path
from model.errors import PlatformFault
from model.identity import AccountId, NamespaceName
from model.scripts import ScriptRef
from processes.serve_lock import AlreadyServing, serve_lock
from storage.data_files import shared_platform
from storage.database import Replication
from storage.egress_records import MATERIAL_PURPOSE, material_info
from storage.fsck import check_files, check_state
from storage.fsck_findings import Finding, Repair, Severity, warning
from storage.fsck_modules import check_bucket
from storage.fsck_repair import Contents, FileContents, Repairs
from storage.keys import RootKey, RootKeyMissing, Unsealable, key_id, sealed_by, unseal
from storage.object_cache import RemoteObjects

if TYPE_CHECKING:  # its client takes a while to load, and most have no use for it
    from storage.postgres.address import DatabaseAddress
    from storage.postgres.connection import PgDatabase

#: Of one statement: those of --deep read all that a platform holds.
_STATEMENT_S: Final = 3600.0


@click.command(short_help="Check that all the host keeps is whole and fits together.")
@data_option
@root_key_option
@database_options
@objects_options
@click.option(
    "--deep", is_flag=True, help="Also hash every module, count every key, and check every database."
)
@click.option("--repair", is_flag=True, help="Put right what can be without loss. Not while the host runs.")
@json_option
def command(
    data: Path | None,
    root_key_file: Path | None,
    database: str | None,
    database_password_file: Path | None,
    objects: str | None,
    objects_endpoint: str | None,
    objects_region: str | None,
    objects_key_file: str | None,
    deep: bool,
    repair: bool,
    as_json: bool,
) -> int:
    """Look through the data folder, of a host that runs or is stopped, and change nothing.

    Database files (integrity, foreign keys, schema), modules, images, routes, bindings, owners, the change log,
    contents that belong to nothing, deleted tenants, and, with the root key, whether every secret opens. Of one
    machine of several, --database has what they share looked at, too: the log and its snapshots, modules, keys,
    messages, leases, runs; --objects, whether the bucket has each module. Exit code 1 when something is lost or does
    not fit; warnings alone are 0. --repair removes what nobody can reach, finishes deletions and makes derived records
    anew; what is lost comes from a backup.

    \b
    Example:
      tenantry fsck --data ./data --deep
    """
    folder = require_folder(data)
    path = root_key_file or folder / "root-key"
    root = _root(path)
    address = database_address(database, database_password_file)
    bucket = named_bucket(objects, objects_endpoint, objects_region, objects_key_file)
    # While it is rotated, either opens what it sealed.
    roots = tuple(filter(None, (root, _root(next_key_path(path)))))
    with storage_errors("fsck"):
        shared = _is_shared(folder)
        if address is not None and not shared:
            raise BadUsage(
                f"{folder} is no machine of a platform: all that it has is in it", hint="leave --database out"
            )
        look = _Look(folder, root, roots, address, bucket, deep)
        found = look.all()
        if repair and any(finding.repair for finding in found):
            if shared and address is None:
                raise BadUsage("--repair of one machine of several needs the platform's --database")
            _repair(look, found)
            found = look.all()
    errors = sum(finding.severity is Severity.ERROR for finding in found)
    if as_json:
        print_json([_show(finding) for finding in found])
    else:
        for finding in found:
            fix = f" (--repair: {finding.repair})" if finding.repair else ""
            say(f"{finding.severity:8} {finding.check}: {printable(finding.what)}{fix}")
        say(f"{errors} errors, {len(found) - errors} warnings" if found else "all is well")
        if shared and address is None:
            note("what this platform has in PostgreSQL was not looked at: name it with --database")
        if root is None:
            note("secrets and images were not tried: there is no root key; name it with --root-key-file")
    return ExitCode.REFUSED if errors else ExitCode.OK


def _is_shared(folder: Path) -> bool:
    try:
        return shared_platform(folder)
    except PlatformFault:
        return False  # what is wrong with the file is found in a moment


@dataclass(frozen=True, slots=True)
class _Look:
    """What is looked at, and with what. `roots`: keys that may open what is sealed."""

    folder: Path
    root: RootKey | None
    roots: tuple[RootKey, ...]
    address: DatabaseAddress | None
    bucket: RemoteObjects | None
    deep: bool

    def all(self) -> list[Finding]:
        found = list(self._here())
        if self.address is not None and not any(
            each.check in ("files", "integrity", "schema") for each in found
        ):
            found += asyncio.run(self._there(self.address))
        return found

    def _here(self) -> Iterator[Finding]:
        broken = list(check_files(self.folder, deep=self.deep))
        yield from broken
        if any(finding.severity is Severity.ERROR for finding in broken):
            return  # what can't be read, or has another schema, tells nothing of the rest
        opens = _Opens(self.roots) if self.roots else None
        yield from check_state(
            self.folder,
            deep=self.deep,
            secret=None if opens is None else opens.secret,
            material=None if opens is None else opens.material,
            in_bucket=self.bucket is not None,
        )
        if self.bucket is not None:
            yield from check_bucket(self.bucket, self.folder, deep=self.deep)
        if self.root is not None:
            yield from _check_images(self.folder, self.root)

    async def _there(self, address: DatabaseAddress) -> list[Finding]:
        from storage.fsck_postgres import check_postgres

        # While the root key is rotated, the platform is under the one that is in place, or the next.
        key_id = self.roots[0].key_id if len(self.roots) == 1 else None
        async with _connected(address) as database:
            return await check_postgres(
                database,
                self.folder,
                deep=self.deep,
                root_key_id=key_id,
                in_bucket=self.bucket is not None,
            )


@asynccontextmanager
async def _connected(address: DatabaseAddress) -> AsyncIterator[PgDatabase]:
    from storage.postgres.connection import PgDatabase

    database = PgDatabase(address, name="tenantry fsck", connections=2, statement_s=_STATEMENT_S)
    try:
        yield database
    finally:
        await database.close()


def _check_images(folder: Path, root: RootKey) -> Iterator[Finding]:
    # Here, since it loads wasmtime.
    from cli.javascript_engine import engine_digest
    from runtime.aot_cache import AotCache, ImageUnavailable

    cache = AotCache(folder / "aot", root.derive("aot"), engine_digest())
    for digest in sorted(cache.digests()):
        try:
            cache.check(digest)
        except ImageUnavailable as problem:
            if cache.has(digest):
                what = f"the image of module {digest} is not run, but compiled again: {problem}"
                yield warning("images", what, Repair.IMAGE, digest)


@dataclass(frozen=True, slots=True)
class _Opens:
    """Tries what is sealed, and keeps nothing of it."""

    roots: tuple[RootKey, ...]

    def secret(self, account: AccountId, ref: ScriptRef, name: str, version: int, sealed: bytes) -> str:
        info = secret_info(account, ref, name, version)
        return _problem([root.derive("secret", info) for root in self.roots], sealed, info)

    def material(self, namespace: NamespaceName | None, name: str, version: int, sealed: bytes) -> str:
        info = material_info(namespace, name, version)
        return _problem([root.derive(MATERIAL_PURPOSE, info) for root in self.roots], sealed, info)


def _problem(keys: Sequence[bytes], sealed: bytes, info: bytes) -> str:
    key = next((key for key in keys if key_id(key) == sealed_by(sealed)), keys[0])
    try:
        unseal(key, sealed, info)
    except Unsealable as problem:
        return problem.message
    return ""


def _repair(look: _Look, found: list[Finding]) -> None:
    folder, root = look.folder, look.root
    try:
        with serve_lock(folder / "serve.lock"):
            if look.address is None:
                asyncio.run(_repair_with(folder, root, found, FileContents(folder)))
            else:
                _repair_shared(look, look.address, found)
    except AlreadyServing as problem:
        raise CliError(str(problem), hint="stop the host before --repair") from problem


def _repair_shared(look: _Look, address: DatabaseAddress, found: list[Finding]) -> None:
    from cli.replicas import joined
    from storage.fsck_shared_repair import SharedContents

    if look.root is None:
        raise CliError(
            "--repair of one machine of several needs the root key", hint="name it with --root-key-file"
        )

    async def run(replication: Replication) -> None:
        async with _connected(address) as database:
            await _repair_with(look.folder, look.root, found, SharedContents(database), replication)

    with joined(look.folder, address, look.root) as replicas:
        if replicas is not None:
            asyncio.run(run(replicas.control))


async def _repair_with(
    folder: Path,
    root: RootKey | None,
    found: Sequence[Finding],
    contents: Contents,
    replication: Replication | None = None,
) -> None:
    try:
        repairs = Repairs(folder, lambda digest: _remove_image(folder, root, digest), contents, replication)
        try:
            for finding in found:
                if finding.repair is not None:
                    await repairs.repair(finding)
                    note(f"{finding.repair}: {printable(finding.what)}")
        finally:
            repairs.close()
    finally:
        await contents.close()


def _remove_image(folder: Path, root: RootKey | None, digest: str) -> None:
    from cli.javascript_engine import engine_digest
    from runtime.aot_cache import AotCache

    if root is not None:
        AotCache(folder / "aot", root.derive("aot"), engine_digest()).remove_stale(digest, -1.0)


def _root(path: Path) -> RootKey | None:
    try:
        return RootKey.load(path)
    except RootKeyMissing:
        return None
    except PlatformFault as problem:
        raise told(problem, str(path)) from problem


def _show(finding: Finding) -> dict[str, object]:
    return {
        "check": finding.check,
        "severity": finding.severity,
        "what": finding.what,
        "repair": finding.repair if finding.repair else None,
    }
