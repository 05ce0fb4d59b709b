"""Processes of the release before go on over the schema of this one: nothing that they say stops to hold.

`released/` has the statements of the release before, as that one had them. At a release they are replaced by a copy
of `storage/sql/*.sql`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from storage.data_files import DATABASES, migrations_of, pending
from storage.database import Database
from storage.migrations import Migrations, load_queries

RELEASED = Path(__file__).parent / "released"
#: Which file's schema the statements of each are for.
OF_FILE = {
    "control": "control.db",
    "egress": "control.db",
    "d1": "control.db",
    "kv": "kv.db",
    "queues": "queues.db",
}
STATEMENTS = [(stream, name) for stream in OF_FILE for name in load_queries(stream, RELEASED)]
#: Migrations that the release before had: they may do what they like, nobody is on the schema before them.
BEFORE = {"control": 4, "kv": 1, "queues": 1, "tokens": 1, "audit": 1, "changes": 1, "cron": 0, "tenants": 0}


@pytest.mark.parametrize(("stream", "name"), STATEMENTS)
def test_a_statement_of_the_release_before_holds_on_todays_schema(
    tmp_path: Path, stream: str, name: str
) -> None:
    file = OF_FILE[stream]
    database = Database.open(tmp_path / file, migrations_of(file))
    try:
        statement = load_queries(stream, RELEASED)[name]
        count = max([int(number) for number in re.findall(r"\?(\d+)", statement)], default=0)
        database.write_blocking(lambda tx: tx.execute(f"EXPLAIN {statement}", (None,) * count))
    finally:
        database.close()


@pytest.mark.parametrize("file", DATABASES)
def test_migrations_since_only_add(file: str) -> None:
    for step in migrations_of(file).steps:
        if step.number <= BEFORE[step.stream]:
            continue
        text = re.sub(r"--.*", "", step.sql)
        assert not re.search(r"\b(DROP|RENAME)\b", text, re.IGNORECASE), (
            f"{step.stream} {step.number} takes away"
        )
        for column in re.findall(r"ADD COLUMN ([^;]+)", text, re.IGNORECASE):
            assert "NOT NULL" not in column.upper() or "DEFAULT" in column.upper(), column


def test_old_folder_is_shown_what_it_lacks_and_has_it_after_the_migration(tmp_path: Path) -> None:
    steps = migrations_of("control.db").steps
    old = Migrations(tuple(step for step in steps if step.number <= BEFORE[step.stream]))
    Database.open(tmp_path / "control.db", old).close()
    lacking = [(step.stream, step.number) for step in pending(tmp_path, "control.db")]
    assert lacking == [(step.stream, step.number) for step in steps if step.number > BEFORE[step.stream]]
    Database.open(tmp_path / "control.db", migrations_of("control.db")).close()
    assert pending(tmp_path, "control.db") == []


def test_process_of_before_writes_while_and_after_the_schema_is_migrated(tmp_path: Path) -> None:
    path = tmp_path / "control.db"
    steps = migrations_of("control.db").steps
    old = Database.open(path, Migrations(tuple(step for step in steps if step.number <= BEFORE[step.stream])))
    put = load_queries("control", RELEASED)["insert_kv_namespace"]
    try:
        old.write_blocking(lambda tx: tx.execute(put, ("before", "one", None, None, 1)))
        Database.open(path, migrations_of("control.db")).close()
        old.write_blocking(lambda tx: tx.execute(put, ("after", "two", None, None, 1)))
        assert old.read("SELECT count(*) FROM kv_namespaces") == [(2,)]
    finally:
        old.close()
