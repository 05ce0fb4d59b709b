"""A schema is what the numbered files say, once each, and never what a changed file says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from storage.database import Database, SchemaMismatch, StorageError
from storage.migrations import SQL_FOLDER, InvalidSqlFile, Migration, Migrations, load_queries

FIRST = Migration("a", 1, "CREATE TABLE one (id); CREATE TABLE two (id)")
SECOND = Migration("a", 2, "CREATE TABLE three (id)")


def tables(database: Database) -> list[str]:
    return [row[0] for row in database.read("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY 1")]


def test_migrations_are_applied_once_and_in_order(tmp_path: Path) -> None:
    Database.open(tmp_path / "a.db", Migrations((FIRST,))).close()
    for _ in range(2):
        database = Database.open(tmp_path / "a.db", Migrations((FIRST, SECOND)))
        assert tables(database) == ["one", "schema_migrations", "three", "two"]
        database.close()


def test_failing_migration_leaves_the_schema_as_it_was(tmp_path: Path) -> None:
    Database.open(tmp_path / "a.db", Migrations((FIRST,))).close()
    broken = Migration("a", 3, "CREATE TABLE four (id); CREATE TABLE one (id)")
    with pytest.raises(StorageError):
        Database.open(tmp_path / "a.db", Migrations((FIRST, SECOND, broken)))
    database = Database.open(tmp_path / "a.db", Migrations((FIRST,)))
    assert tables(database) == ["one", "schema_migrations", "two"]
    database.close()


@pytest.mark.parametrize(
    ("ours", "message"),
    [
        ((FIRST,), "newer release"),  # the file has SECOND, this release doesn't
        ((FIRST, Migration("a", 2, "CREATE TABLE other (id)")), "was changed"),
        ((Migration("b", 1, FIRST.sql),), "newer release"),  # another kind of file
    ],
)
def test_database_of_another_release_is_refused(
    tmp_path: Path, ours: tuple[Migration, ...], message: str
) -> None:
    Database.open(tmp_path / "a.db", Migrations((FIRST, SECOND))).close()
    with pytest.raises(SchemaMismatch, match=message):
        Database.open(tmp_path / "a.db", Migrations(ours))


def test_streams_are_loaded_in_the_order_asked_for(tmp_path: Path) -> None:
    for name in ("b_0001_initial.sql", "a_0002_more.sql", "a_0001_initial.sql", "a.sql", "ab_0001_other.sql"):
        (tmp_path / name).write_text(f"-- {name}")
    steps = Migrations.load("b", "a", folder=tmp_path).steps
    assert [(step.stream, step.number) for step in steps] == [("b", 1), ("a", 1), ("a", 2)]


@pytest.mark.parametrize(
    "files", [[], ["a_0002_late.sql"], ["a_0001_x.sql", "a_0003_y.sql"], ["a_0001_x.sql", "a_0001_y.sql"]]
)
def test_gap_or_double_in_the_numbers_is_refused(tmp_path: Path, files: list[str]) -> None:
    for name in files:
        (tmp_path / name).write_text("")
    with pytest.raises(InvalidSqlFile, match="without gaps"):
        Migrations.load("a", folder=tmp_path)


def test_named_queries_are_read_without_their_comments(tmp_path: Path) -> None:
    (tmp_path / "q.sql").write_text(
        "-- about the file\n\n-- :name one\n-- why\nSELECT 1\n  FROM x; \n\n-- :name two\nSELECT 2\n"
    )
    assert load_queries("q", tmp_path) == {"one": "SELECT 1\n  FROM x", "two": "SELECT 2"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SELECT 1", "1: a statement without"),
        ("-- :name a\nSELECT 1\n-- :name a\nSELECT 2", "3: query 'a' is there twice"),
        ("-- :name a\n-- :name b\nSELECT 2", "'a' is empty"),
        ("-- :name a\n", "'a' is empty"),
    ],
)
def test_broken_query_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "q.sql").write_text(text)
    with pytest.raises(InvalidSqlFile, match=message):
        load_queries("q", tmp_path)


def test_every_sql_file_of_ours_loads() -> None:
    for path in SQL_FOLDER.glob("*.sql"):
        stream, number, _ = path.stem.rpartition("_0001_")
        if number:
            assert Migrations.load(stream).steps
        elif not re.search(r"_[0-9]{4}_", path.stem):
            assert load_queries(path.stem)
