"""What `tenantry dev` was asked for, and what follows from it: pure."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cli.deployment import Deployment
from processes.listeners import ListenAddress

#: Dispatch namespace of the worker in the dev host: it is a tenant's there, as it will be.
NAMESPACE: Final = "dev"
#: Beside the project: all that `tenantry dev` keeps.
FOLDER: Final = ".tenantry"

#: What says nothing about the worker, so that the folder's name is the better one.
_PLAIN_STEMS: Final = ("index", "worker", "main")
#: Of "localhost" each resolver has its own opinion; what it answers is judged by `open_cidrs`.
_LOCAL_HOSTS: Final = ("localhost", "*.localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Plan:
    #: The worker's file or folder.
    file: Path
    #: The project's folder.
    root: Path
    deployment: Deployment
    listen: ListenAddress
    allow_loopback: bool
    #: Queues whose messages it is given.
    consumes: Sequence[str]
    crons: Sequence[str]

    @property
    def folder(self) -> Path:
        return self.root / FOLDER

    @property
    def data(self) -> Path:
        return self.folder / "dev"


def name_of(file: Path, root: Path) -> str:
    """A script's name for the worker: of a file that has a telling one, else the project's folder's."""
    telling = file.suffix and file.stem not in _PLAIN_STEMS
    name = re.sub(r"[^a-z0-9_-]+", "-", (file.stem if telling else root.name).lower()).strip("-")
    return name[:63].rstrip("-") or "worker"


def egress_policy(*, allow_loopback: bool) -> str:
    """Every public address may be asked, and this machine's own only where its developer says so: what other
    programs have listening there trusts whoever can reach it.
    """
    policy: dict[str, Any] = {"version": 1, "mode": "open", "rules": []}
    if allow_loopback:
        policy["rules"] = [
            {
                "name": "local services",
                "action": "allow",
                "host": list(_LOCAL_HOSTS),
                "open_cidrs": ["127.0.0.0/8", "::1/128"],
            }
        ]
    return json.dumps(policy)
