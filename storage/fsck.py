"""Check all that a data folder holds, running or stopped: nothing is written, and nobody waits.

A host that runs changes things while they are looked at. Each file is read as of one moment or looked at again, in the
order in which things are made, so that what is under way is not taken for broken.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from storage.data_files import CACHES, DATABASES, SHARED, pending, present, shared_platform
from storage.failures import SchemaMismatch, StorageError
from storage.fsck_analytics import check_analytics
from storage.fsck_cache import check_cache
from storage.fsck_contents import check_cron, check_databases, check_kv, check_queues
from storage.fsck_control import MaterialProblem, SecretProblem, check_control, check_secrets
from storage.fsck_findings import Finding, Repair, error, warning
from storage.sqlite_files import newest_change, opened


def check_files(data: Path, *, deep: bool) -> Iterator[Finding]:
    """Whether each database file is whole, and of this release."""
    found = present(data)
    for name in DATABASES:
        if name in CACHES:
            # Its host makes it when it starts. Whatever is wrong with it costs the time to fill it again.
            for problem in _problems(data, name, deep=deep) if name in found else ():
                yield warning(problem.check, problem.what, Repair.CACHE, name)
        elif name in found:
            yield from _problems(data, name, deep=deep)
        elif name not in SHARED or not _is_shared(data):
            yield error("files", f"{name} is not there")


def _problems(data: Path, name: str, *, deep: bool) -> Iterator[Finding]:
    try:
        with opened(data / name) as file:
            for problem in file.problems(thorough=deep):
                yield error("integrity", f"{name}: {problem}")
            for broken in file.broken_references():
                yield error("integrity", f"{name}: rows of {broken} lead nowhere")
        for step in pending(data, name):
            yield error(
                "schema", f"{name} lacks migration {step.stream} {step.number}: run `tenantry migrate`"
            )
    except (StorageError, SchemaMismatch) as problem:
        yield error("integrity", f"{name}: {problem.message} ({problem.detail})")


def check_state(
    data: Path,
    *,
    deep: bool,
    secret: SecretProblem | None,
    material: MaterialProblem | None,
    in_bucket: bool = False,
) -> Iterator[Finding]:
    """Whether it all fits together. For files that `check_files` found nothing wrong with. Raises StorageError.

    Of a platform of several machines this is one machine's part; `fsck_postgres` looks at what they share.
    `in_bucket`: modules are kept in one, and the folder has some of them.
    """
    shared = shared_platform(data)
    sequence = _stored_sequence(data)
    with opened(data / "control.db") as control:
        # One moment for all that is read of it.
        control.read("BEGIN")
        if sequence > newest_change(control):
            what = f"changes.seq says {sequence}, and the newest change is {newest_change(control)}"
            yield error("changes", what, Repair.SEQUENCE)
        yield from check_control(control, data, deep=deep, elsewhere=shared or in_bucket)
        if secret is not None and material is not None:
            yield from check_secrets(control, secret, material)
        control.read("COMMIT")
    if not shared:
        yield from check_kv(data, deep=deep)
        yield from check_queues(data, deep=deep)
        yield from check_cron(data)
    yield from check_databases(data, deep=deep, shared=shared)
    yield from check_analytics(data, deep=deep)
    yield from check_cache(data)


def _is_shared(data: Path) -> bool:
    try:
        return shared_platform(data)
    except StorageError:
        return False  # what is wrong with it is told by itself


def _stored_sequence(data: Path) -> int:
    try:
        return int.from_bytes((data / "changes.seq").read_bytes()[:8], "little")
    except FileNotFoundError:
        return 0
