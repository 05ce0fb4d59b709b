"""Everything a data folder holds, looked at: whole, and fitting together."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from bindings.secret_store import secret_info
from cli.data_folder import data_option, require_folder, root_key_option, storage_errors, told
from cli.errors import CliError, ExitCode
from cli.output import note, print_json, printable, say
from cli.params import json_option
from control.key_rotation import next_key_path
from model.errors import PlatformFault
from model.identity import AccountId, NamespaceName
from model.scripts import ScriptRef
from processes.serve_lock import AlreadyServing, serve_lock
from storage.data_files import shared_platform
from storage.egress_records import MATERIAL_PURPOSE, material_info
from storage.fsck import check_files, check_state
from storage.fsck_findings import Finding, Repair, Severity, warning
from storage.fsck_repair import Repairs
from storage.keys import RootKey, RootKeyMissing, Unsealable, key_id, sealed_by, unseal


@click.command(short_help="Check that all the host keeps is whole and fits together.")
@data_option
@root_key_option
@click.option(
    "--deep", is_flag=True, help="Also hash every module, count every key, and check every database."
)
@click.option("--repair", is_flag=True, help="Put right what can be without loss. Not while the host runs.")
@json_option
def command(data: Path | None, root_key_file: Path | None, deep: bool, repair: bool, as_json: bool) -> int:
    """Look through the data folder, of a host that runs or is stopped, and change nothing.

    Database files (integrity, foreign keys, schema), modules, images, routes, bindings, owners, the change log,
    contents that belong to nothing, deleted tenants, and, with the root key, whether every secret opens. Exit code
    1 when something is lost or does not fit; warnings alone are 0. --repair removes what nobody can reach, finishes
    deletions and makes derived records anew; what is lost comes from a backup.

    \b
    Example:
      tenantry fsck --data ./data --deep
    """
    folder = require_folder(data)
    path = root_key_file or folder / "root-key"
    root = _root(path)
    # While it is rotated, either opens what it sealed.
    roots = tuple(filter(None, (root, _root(next_key_path(path)))))
    with storage_errors("fsck"):
        found = list(_check(folder, root, roots, deep=deep))
        if repair and any(finding.repair for finding in found):
            _repair(folder, found, root)
            found = list(_check(folder, root, roots, deep=deep))
    errors = sum(finding.severity is Severity.ERROR for finding in found)
    if as_json:
        print_json([_show(finding) for finding in found])
    else:
        for finding in found:
            fix = f" (--repair: {finding.repair})" if finding.repair else ""
            say(f"{finding.severity:8} {finding.check}: {printable(finding.what)}{fix}")
        say(f"{errors} errors, {len(found) - errors} warnings" if found else "all is well")
        if shared_platform(folder):
            note("KV, queues and cron of this platform are in PostgreSQL and were not looked at")
        if root is None:
            note("secrets and images were not tried: there is no root key; name it with --root-key-file")
    return ExitCode.REFUSED if errors else ExitCode.OK


def _check(
    folder: Path, root: RootKey | None, roots: tuple[RootKey, ...], *, deep: bool
) -> Iterator[Finding]:
    broken = list(check_files(folder, deep=deep))
    yield from broken
    if broken:
        return  # what can't be read, or has another schema, tells nothing of the rest
    opens = _Opens(roots) if roots else None
    yield from check_state(
        folder,
        deep=deep,
        secret=None if opens is None else opens.secret,
        material=None if opens is None else opens.material,
    )
    if root is not None:
        yield from _check_images(folder, root)


def _check_images(folder: Path, root: RootKey) -> Iterator[Finding]:
    # Here, since it loads wasmtime.
    from runtime.aot_cache import AotCache, ImageUnavailable

    cache = AotCache(folder / "aot", root.derive("aot"))
    for digest in sorted(cache.digests()):
        try:
            cache.open(digest).close()
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


def _repair(folder: Path, found: list[Finding], root: RootKey | None) -> None:
    try:
        with serve_lock(folder / "serve.lock"):
            repairs = Repairs(folder, lambda digest: _remove_image(folder, root, digest))
            try:
                for finding in found:
                    if finding.repair is not None:
                        asyncio.run(repairs.repair(finding))
                        note(f"{finding.repair}: {printable(finding.what)}")
            finally:
                repairs.close()
    except AlreadyServing as problem:
        raise CliError(str(problem), hint="stop the host before --repair") from problem


def _remove_image(folder: Path, root: RootKey | None, digest: str) -> None:
    from runtime.aot_cache import AotCache

    if root is not None:
        AotCache(folder / "aot", root.derive("aot")).remove_stale(digest, -1.0)


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
