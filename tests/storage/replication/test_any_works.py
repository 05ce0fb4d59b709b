"""Whatever three machines write, in whatever order, with restarts, snapshots and lost connections in between: they end
equal, and equal to one file on which the same was done.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.changes import record_change
from storage.database import ConstraintViolated, Database, StorageError
from storage.failures import WriteUncertain
from storage.transaction import Transaction
from tests.storage.replication.machines import TABLES, Machine
from tests.support.postgres import Cluster
from tests.support.postgres_proxy import PostgresProxy
from tests.support.waiting import wait_until

_NAMES = st.sampled_from("abcd")
_VALUES = st.integers(-3, 3)
#: (what, name, value): every kind of statement, some of which break a rule.
_STATEMENTS = st.tuples(
    st.sampled_from(["put", "add", "rename", "delete", "part", "unpart", "move", "fail", "clear"]),
    _NAMES,
    _VALUES,
)
_WORKS = st.lists(_STATEMENTS, min_size=1, max_size=4)
_ACTIONS: st.SearchStrategy[tuple[str, int, list[tuple[str, str, int]]]] = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 2), _WORKS),
    st.tuples(st.sampled_from(["restart", "snapshot", "cut"]), st.integers(0, 2), st.just([])),
)

_SQL = {
    "put": "INSERT OR REPLACE INTO items VALUES (:name, :value)",
    "add": "UPDATE items SET value = value + :value WHERE name <= :name",
    "rename": "UPDATE items SET name = name || :value WHERE name = :name",
    "delete": "DELETE FROM items WHERE name = :name",
    "part": "INSERT OR IGNORE INTO parts SELECT :name, :value, :name || :value FROM items WHERE name = :name",
    "unpart": "DELETE FROM parts WHERE item = :name OR part = :value",
    "move": "UPDATE parts SET text = text || 'x' WHERE part > :value",
    "clear": "DELETE FROM parts",
    "fail": "INSERT INTO parts VALUES ('nobody', :name, :value)",
}


def _work(statements: list[tuple[str, str, int]]) -> Callable[[Transaction], None]:
    def work(tx: Transaction) -> None:
        for what, name, value in statements:
            # By position, as Transaction has it: each name once.
            sql = _SQL[what].replace(":name", "?1").replace(":value", "?2")
            params = (name, value) if "?2" in sql else (name,)
            tx.execute(sql, params if "?" in sql else ())
            record_change(tx, "script", name)

    return work


_CONTENTS = (
    "SELECT * FROM items ORDER BY name",
    "SELECT * FROM parts ORDER BY item, part",
    "SELECT seq, kind, key FROM changes ORDER BY seq",
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_ACTIONS, min_size=1, max_size=25))
def test_machines_end_equal(
    postgres: Cluster, actions: list[tuple[str, int, list[tuple[str, str, int]]]]
) -> None:
    folder = Path(tempfile.mkdtemp(prefix="tenantry-machines-"))
    address = postgres.new_database()
    proxy = PostgresProxy(address)
    alone = Database.open(folder / "alone.db", TABLES)
    machines: list[Machine] = []
    uncertain = False
    try:
        machines += [Machine(folder, proxy.address, name) for name in "abc"]
        for action, number, statements in actions:
            if action == "restart":
                machines[number].close()
                machines[number] = Machine(folder, proxy.address, "abc"[number])
            elif action == "snapshot":
                try:
                    machines[number].replica.take_snapshot(1)
                except StorageError:
                    pass
            elif action == "cut":
                proxy.cut()
            else:
                work = _work(statements)
                try:
                    machines[number].database.write_blocking(work)
                except ConstraintViolated:
                    continue
                except WriteUncertain:
                    uncertain = True
                    continue
                except StorageError:
                    continue  # nothing was changed, it says
                alone.write_blocking(work)
        wait_until(lambda: all(machine.status().current for machine in machines))
        wait_until(lambda: len({machine.status().seq for machine in machines}) == 1)
        first = machines[0].dump()
        assert all(machine.dump() == first for machine in machines)
        assert all(machine.status().conflicts == 0 for machine in machines)
        if not uncertain:
            for query in _CONTENTS:
                assert alone.read(query) == machines[0].database.read(query)
    finally:
        for machine in machines:
            machine.close()
        alone.close()
        proxy.close()
        shutil.rmtree(folder)
