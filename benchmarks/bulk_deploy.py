"""Put many tenants into a host's storage, past its API: a hundred thousand uploads would take hours.

What is stored is what the API stores, except that nothing is checked again: names are new, routes can't tie.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

from benchmarks.host import NAMESPACE
from model.identity import NamespaceName, ScriptName, TenantId, VersionId
from model.scripts import HostnameRoutes, Route, ScriptRef, ScriptVersion, Target
from storage.changes import ChangeSequence, record_change
from storage.control_records import encode_conditions, encode_hostname, new_id
from storage.control_store import ControlStore
from storage.database import Transaction
from storage.migrations import load_queries
from storage.script_records import store_version

_AT_ONCE = 5_000


def deploy_copies(data: Path, template: str, numbers: range) -> None:
    """Scripts `t0` … with the code of the script `template`, each a tenant of its own with its host name."""
    sequence = ChangeSequence(data / "changes.seq")
    store = ControlStore.open(data / "control.db", sequence)
    try:
        code = store.scripts.get(ScriptRef(NamespaceName(NAMESPACE), ScriptName(template)))
        for start in range(numbers.start, numbers.stop, _AT_ONCE):
            some = range(start, min(numbers.stop, start + _AT_ONCE))
            store.database.write_blocking(functools.partial(_deploy, code, some))
    finally:
        store.close()
        sequence.close()


def _deploy(code: ScriptVersion, numbers: range, tx: Transaction) -> None:
    sql = load_queries("control")
    for number in numbers:
        name = f"t{number}"
        hostname = f"{name}.localhost"
        ref = ScriptRef(NamespaceName(NAMESPACE), ScriptName(name))
        store_version(tx, replace(code, ref=ref, tenant=TenantId(name), version=VersionId(new_id())))
        route = Route(new_id(), hostname, "/", (), Target(ref))
        tx.execute(sql["put_route"], (route.id, hostname, "/", encode_conditions(()), NAMESPACE, name, "", 0))
        tx.execute(sql["put_hostname_record"], (hostname, encode_hostname(HostnameRoutes((route,)))))
        record_change(tx, "route", hostname)
