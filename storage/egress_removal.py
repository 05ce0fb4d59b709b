"""Remove what a dispatch namespace's egress stands on, inside the transaction that deletes the namespace."""

from __future__ import annotations

from model.identity import NamespaceName
from storage.changes import record_change
from storage.transaction import Transaction


def remove_egress(tx: Transaction, namespace: NamespaceName) -> None:
    """Its policies in all layers with their past, and its materials: a namespace that takes the name later
    must find none of them.
    """
    for table in ("policy_layers", "policy_versions", "egress_materials"):
        tx.execute(f"DELETE FROM {table} WHERE namespace = ?", (namespace,))  # noqa: S608 - one of these three
    record_change(tx, "policy", f"{namespace}//")
    record_change(tx, "material", f"{namespace}/")
