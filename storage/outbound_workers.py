"""Outbound workers as control keeps them: of a dispatch namespace, and of a dispatch binding."""

from __future__ import annotations

import json
from typing import Final

from model.identity import NamespaceName
from model.scripts import OutboundWorker
from storage.control_failures import ChangeRefused, Rule
from storage.control_records import Read, describe, namespace_key, to_ref
from storage.migrations import load_queries
from storage.script_removal import script_exists
from storage.transaction import SqlValue

#: The four columns of a namespace without one.
NONE: Final[tuple[SqlValue, ...]] = (None, None, None, None)


def to_columns(worker: OutboundWorker | None) -> tuple[SqlValue, ...]:
    if worker is None:
        return NONE
    params = None if worker.params is None else json.dumps(worker.params)
    if worker.script is None:
        return (None, None, worker.hook, params)
    return (namespace_key(worker.script.namespace), worker.script.script, None, params)


def from_columns(
    namespace: str | None, script: str | None, hook: str | None, params: str | None
) -> OutboundWorker | None:
    if script is None and hook is None:
        return None
    declared = None if params is None else tuple(json.loads(params))
    ref = None if script is None else to_ref(namespace or "", script)
    return OutboundWorker(ref, hook, declared)


def check_outbound_worker(
    read: Read, worker: OutboundWorker, stands_before: NamespaceName, where: str
) -> None:
    """That it is there, and is none of those whose requests it is to see. Raises ChangeRefused: binding_invalid."""
    ref = worker.script
    if ref is None:
        return  # which hooks there are is known to the processes that load them
    if ref.namespace == stands_before:
        raise ChangeRefused(
            Rule.BINDING_INVALID,
            f"{where}: {describe(ref)} is one of the workers whose requests it would see; deploy it as a plain"
            " script, or in a namespace of the platform's own",
            where,
        )
    if not script_exists(read, ref):
        raise ChangeRefused(
            Rule.BINDING_INVALID, f"{where}: there is no {describe(ref)}; upload it first", where
        )


def outbound_workers(read: Read, namespace: NamespaceName | None) -> frozenset[OutboundWorker]:
    """Who stands before `namespace`, by its own word or by a dispatch binding's; None: before any. Without params."""
    rows = read(load_queries("control")["outbound_workers"], (namespace,))
    return frozenset(filter(None, (from_columns(*row) for row in rows)))
