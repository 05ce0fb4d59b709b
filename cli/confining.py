"""Which files each process of a host is left with, and the log line that says what holds it."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import cli
from cli.object_places import place_from_config
from processes import profiles
from processes.confinement import InForce, Profile, confine
from storage import shared_rates
from storage.folders import make_folder

_log = logging.getLogger("tenantry.confinement")

#: Of the data folder, what a worker process reads and what it writes. Not here, and so out of its reach:
#: `root-key`, `admin-token`, `tokens.db`, `audit.db`, `objects/`, `serve.lock`.
WORKER_READS: Final = ("control.db", "control.db-wal", "aot")
WORKER_WRITES: Final = (
    "control.db-shm", "changes.seq", shared_rates.FILE_NAME,
    "kv.db", "kv.db-wal", "kv.db-shm", "kv.db.lock",
    "queues.db", "queues.db-wal", "queues.db-shm", "queues.db.lock",
    "cache.db", "cache.db-wal", "cache.db-shm", "cache.db.lock",
)  # fmt: skip
#: Where SQLite puts what doesn't fit into memory, and removes it at once.
SCRATCH: Final = "tmp"
#: Where a worker process makes files of its own: SQL databases with their logs and copies.
D1: Final = "d1"
_PACKAGES: Final = (
    "model", "processes", "edge", "dispatch", "runtime", "bindings", "outbound", "storage", "observability", "cli",
    "expressions",
)  # fmt: skip


def prepare_folder(data: Path) -> None:
    """Make what a worker process opens, since it can't: a rule is about a file that is there."""
    for folder in ("aot", SCRATCH, D1):
        make_folder(data / folder)
    for name in (*WORKER_READS, *WORKER_WRITES):
        if not (data / name).exists():
            os.close(os.open(data / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def confine_worker(config: Mapping[str, Any], hook_modules: Iterable[str]) -> InForce:
    """Before the first thread of a worker process, and after all that only an unconfined one may do."""
    data = Path(config["data"])
    prepare_folder(data)
    os.environ["SQLITE_TMPDIR"] = str(data / SCRATCH)
    files = profiles.worker_files(
        data=data,
        read=WORKER_READS,
        write=WORKER_WRITES,
        scratch=(SCRATCH, D1),
        code=[*_code_folders(hook_modules), *_certificates(config)],
        hidden=[Path(config["root_key_file"])],
    )
    return confine_and_tell(profiles.worker(files, data), config["confinement"])


def confine_control(config: Mapping[str, Any]) -> InForce:
    """First thing, in a process that holds every key: it reaches the data folder, and what runs the compiler."""
    data, key = Path(config["data"]), Path(config["root_key_file"])
    for folder in (SCRATCH, D1):
        make_folder(data / folder)
    os.environ["SQLITE_TMPDIR"] = str(data / SCRATCH)
    root = Path(cli.__file__).resolve().parents[1]
    files = profiles.control_files(
        data=data,
        # `.next` is there while the key is rotated (control.key_rotation); it may be out of the data folder, too.
        read=[path for path in (key, key.with_name(f"{key.name}.next")) if path == key or path.exists()],
        code=[*_code_folders(()), root / "control", *_certificates(config)],
        root=root,
    )
    profile = profiles.control(data, files, _ports(config))
    return confine_and_tell(profile, config["confinement"])


def confine_supervisor(data: Path, mode: str) -> InForce:
    """Once the folder is prepared, before the first child: they start with what is left."""
    return confine_and_tell(profiles.supervisor(data), mode)


def confine_and_tell(profile: Profile, mode: str) -> InForce:
    """One line. Raises ConfinementMissing."""
    in_force = confine(profile, mode)
    level = logging.WARNING if in_force.missing and mode != "off" else logging.INFO
    _log.log(level, "confinement of this %s: %s", profile.kind, in_force)
    return in_force


def _ports(config: Mapping[str, Any]) -> list[int]:
    """Where control connects to: the database, the bucket."""
    database, objects = config.get("database"), config.get("objects")
    ports = [] if database is None else [int(database["port"])]
    return ports if objects is None else [*ports, place_from_config(objects).port]


def _certificates(config: Mapping[str, Any]) -> list[Path]:
    """What a database's certificate is checked against, where the operator named a file."""
    database = config.get("database")
    return [Path(database["ssl_root_cert"])] if database and database["ssl_root_cert"] else []


def _code_folders(hook_modules: Iterable[str]) -> list[Path]:
    """Where Python may still import from: the path (without the working directory, which `-m` put there, and
    without a checkout's root: they may hold anything), our packages, the hooks' modules.
    """
    root = Path(cli.__file__).resolve().parents[1]
    found = [root / name for name in _PACKAGES]
    found += [path for path in map(Path, sys.path) if path.resolve() not in (root, Path.cwd())]
    for name in hook_modules:
        file = getattr(sys.modules.get(name.partition(".")[0]), "__file__", None)
        if file:
            # A package's folder; of a lone module, the file.
            found.append(Path(file).parent if Path(file).name == "__init__.py" else Path(file))
    return found
