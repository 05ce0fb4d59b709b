"""Put many tenants into a host's storage, past its API: a hundred thousand uploads would take an hour.

What is stored is what the API would have stored: the same record classes write it, in the same transactions.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from benchmarks.host import NAMESPACE
from model.identity import NamespaceName, ScriptName, TenantId
from model.scripts import Route, ScriptRef, Target
from storage.changes import ChangeSequence
from storage.control_store import ControlStore
from storage.script_records import Deployment

_AT_ONCE = 2_000


def deploy_copies(data: Path, template: str, numbers: range, prefix: str = "t") -> None:
    """Scripts `t0` … with the code of the script `template`, each a tenant of its own with its host name."""
    asyncio.run(_deploy(data, template, numbers, prefix))


async def _deploy(data: Path, template: str, numbers: range, prefix: str) -> None:
    sequence = ChangeSequence(data / "changes.seq")
    store = ControlStore.open(data / "control.db", sequence)
    namespace = NamespaceName(NAMESPACE)
    try:
        code = store.scripts.get(ScriptRef(namespace, ScriptName(template)))

        async def one(number: int) -> None:
            name = f"{prefix}{number}"
            ref = ScriptRef(namespace, ScriptName(name))
            deployment = Deployment(ref, TenantId(name))
            await store.scripts.deploy(deployment, code.module_digest, code.handlers, lambda *_: b"")
            await store.routes.create(Route("", f"{name}.localhost", "/", (), Target(ref)))

        for start in range(numbers.start, numbers.stop, _AT_ONCE):
            await asyncio.gather(*map(one, range(start, min(numbers.stop, start + _AT_ONCE))))
    finally:
        store.close()
        sequence.close()
