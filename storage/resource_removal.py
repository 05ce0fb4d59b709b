"""Remove a KV namespace, a queue or a SQL database from control's state, inside a transaction.

Its contents are in a file of their own and are removed after this commit: `pending_deletions` remembers that.
"""

from __future__ import annotations

from storage.changes import record_change
from storage.control_failures import ChangeRefused, Rule, listed
from storage.control_records import describe, to_consumer, to_kv_namespace, to_queue, to_ref
from storage.database import Transaction
from storage.migrations import load_queries


def remove_resource(tx: Transaction, kind: str, resource_id: str, *, force: bool) -> None:
    """`kind` is "kv", "queue" or "d1". `force` removes it although scripts bind it, with its consumer.

    Raises ChangeRefused: kv_namespace_missing, queue_missing, d1_database_missing, kv_namespace_in_use, queue_in_use,
    d1_database_in_use.
    """
    if kind == "kv":
        _remove_kv_namespace(tx, resource_id, force=force)
    elif kind == "d1":
        _remove_d1_database(tx, resource_id, force=force)
    else:
        _remove_queue(tx, resource_id, force=force)
    tx.execute(load_queries("control")["insert_pending_deletion"], (kind, resource_id))


def kv_namespace_missing(namespace_id: str, field: str = "") -> ChangeRefused:
    return ChangeRefused(
        Rule.KV_NAMESPACE_MISSING, f"there is no KV namespace with id {namespace_id[:80]!r}", field
    )


def queue_missing(queue: str, field: str = "") -> ChangeRefused:
    return ChangeRefused(Rule.QUEUE_MISSING, f"there is no queue {queue[:80]!r}; make it first", field)


def d1_database_missing(database: str, field: str = "") -> ChangeRefused:
    return ChangeRefused(Rule.D1_DATABASE_MISSING, f"there is no database {database[:80]!r}", field)


def _remove_d1_database(tx: Transaction, database_id: str, *, force: bool) -> None:
    sql = load_queries("d1")
    rows = tx.execute(sql["database"], (database_id,))
    if not rows:
        raise d1_database_missing(database_id)
    users = _binders(tx, database_id, "d1")
    if users and not force:
        raise ChangeRefused(
            Rule.D1_DATABASE_IN_USE,
            f"database {rows[0][1]!r} is bound by {listed(users)}; deploy these without the binding first, or add"
            " ?force=true",
        )
    tx.execute(sql["delete_database"], (database_id,))


def _remove_kv_namespace(tx: Transaction, namespace_id: str, *, force: bool) -> None:
    sql = load_queries("control")
    rows = tx.execute(sql["kv_namespace"], (namespace_id,))
    if not rows:
        raise kv_namespace_missing(namespace_id)
    users = _binders(tx, namespace_id, "kv_namespace")
    if users and not force:
        raise ChangeRefused(
            Rule.KV_NAMESPACE_IN_USE,
            f"KV namespace {to_kv_namespace(rows[0]).title!r} is bound by {listed(users)}; deploy these without"
            " the binding first, or add ?force=true",
        )
    tx.execute(sql["delete_kv_namespace"], (namespace_id,))


def _remove_queue(tx: Transaction, queue_id: str, *, force: bool) -> None:
    sql = load_queries("control")
    rows = tx.execute(sql["queue"], (queue_id,))
    if not rows:
        raise queue_missing(queue_id)
    users = _binders(tx, queue_id, "queue")
    consumers = tx.execute(sql["consumers"], (queue_id,))
    users += [f"its consumer, {to_consumer(row)}" for row in consumers]
    dead_letters = tx.execute(sql["dead_letter_users"], (queue_id,))
    users += [f"queue {row[1]!r}, as its dead-letter queue" for row in dead_letters if row[2] != queue_id]
    if users and not force:
        raise ChangeRefused(
            Rule.QUEUE_IN_USE,
            f"queue {to_queue(rows[0]).name!r} is used by {listed(users)}; remove these first, or add"
            " ?force=true",
        )
    tx.execute(
        "UPDATE queue_consumers SET dead_letter_queue_id = NULL WHERE dead_letter_queue_id = ?", (queue_id,)
    )
    tx.execute(sql["delete_queue"], (queue_id,))
    for touched in {queue_id, *(row[2] for row in dead_letters)}:
        record_change(tx, "consumer", touched)


def _binders(tx: Transaction, target: str, kind: str) -> list[str]:
    rows = tx.execute(load_queries("control")["users_of_target"], (target, kind))
    return [f"{describe(to_ref(row[0], row[1]))} as {row[2]}" for row in rows]
