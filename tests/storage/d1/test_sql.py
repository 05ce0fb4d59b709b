"""A script is cut where SQLite's own shell cuts it."""

from __future__ import annotations

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.d1.sql import first_words, is_blank, split_exec, split_statements


@pytest.mark.parametrize(
    ("script", "parts"),
    [
        ("SELECT 1", [("SELECT 1", 1)]),
        ("SELECT 1;", [("SELECT 1;", 1)]),
        (" ;; \n-- a;b\nSELECT 1 ; /* x; */ SELECT 2;", [("SELECT 1 ;", 3), ("SELECT 2;", 3)]),
        ("INSERT INTO t VALUES ('a;''b');\nSELECT \"x;y\", [z;], `q;`", [("INSERT INTO t VALUES ('a;''b');", 1),
         ('SELECT "x;y", [z;], `q;`', 2)]),
        ("CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT 1; SELECT 2; END; SELECT 3",
         [("CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT 1; SELECT 2; END;", 1), ("SELECT 3", 1)]),
        ("create temp trigger g after insert on t begin select 1; end;\nselect 2;",
         [("create temp trigger g after insert on t begin select 1; end;", 1), ("select 2;", 2)]),
        ("EXPLAIN QUERY PLAN SELECT 1; SELECT 2", [("EXPLAIN QUERY PLAN SELECT 1;", 1), ("SELECT 2", 1)]),
        ("SELECT 'open; -- not closed", [("SELECT 'open; -- not closed", 1)]),
        ("/* not closed; SELECT 1;", []),
        ("", []),
        (" \n;;-- only this", []),
    ],
)  # fmt: skip
def test_a_script_is_cut_into_statements_with_their_lines(script: str, parts: list[tuple[str, int]]) -> None:
    assert [(part.text, part.line) for part in split_statements(script)] == parts


@pytest.mark.parametrize(
    ("script", "parts"),
    [
        ("CREATE TABLE t (a)\nINSERT INTO t VALUES (1)\r\n\n SELECT 1\n",
         [("CREATE TABLE t (a)", 1), ("INSERT INTO t VALUES (1)", 2), ("SELECT 1", 4)]),
        ("SELECT 1 -- one; two\n-- three;\nSELECT 2", [("SELECT 1 -- one; two", 1), ("SELECT 2", 3)]),
        ("SELECT 'a;\nb'\nSELECT 2", [("SELECT 'a;\nb'", 1), ("SELECT 2", 3)]),
        ("/* of\ntwo; */ SELECT 1\nSELECT 2", [("SELECT 1", 2), ("SELECT 2", 3)]),
        ("CREATE TABLE t (\n  a,\n  b\n);\nSELECT\n 1", [("CREATE TABLE t (\n  a,\n  b\n);", 1), ("SELECT\n 1", 5)]),
        ("SELECT 1; SELECT 2", [("SELECT 1;", 1), ("SELECT 2", 1)]),
        ("\n \n", []),
    ],
)  # fmt: skip
def test_without_a_semicolon_a_script_of_exec_has_a_statement_on_each_line(
    script: str, parts: list[tuple[str, int]]
) -> None:
    assert [(part.text, part.line) for part in split_exec(script)] == parts


_PIECES = st.lists(
    st.sampled_from(
        ["SELECT 1", ";", " ", "\n", "'a;b'",
         '"c;d"', "-- x;\n", "/* y; */", "CREATE TRIGGER g", "BEGIN", "END", ";END;",
         "EXPLAIN", "CREATE", "TEMP", "TABLE", "[z;]", "`q;`", "é", "1.5"]
    ),
    max_size=14,
)  # fmt: skip


@given(_PIECES)
@settings(max_examples=400, deadline=None)
def test_each_part_but_the_last_is_complete_by_sqlites_own_word_and_none_before_it(pieces: list[str]) -> None:
    script = " ".join(pieces)
    parts = [part.text for part in split_statements(script)]
    for part in parts[:-1]:
        assert apsw.complete(part)
        assert not any(apsw.complete(part[:at]) for at in range(1, len(part)) if part[at - 1] == ";")
    assert bool(parts) != is_blank(script)


def test_cutting_is_linear() -> None:
    script = "CREATE TRIGGER g AFTER INSERT ON t BEGIN " + "SELECT 1; " * 200_000
    assert len(list(split_statements(script))) == 1
    assert len(list(split_exec("SELECT 1\n" * 200_000))) == 200_000


def test_first_words_pass_over_comments() -> None:
    assert first_words("-- a\n /* b */ begin transaction;") == ("BEGIN", "TRANSACTION")
    assert first_words("('x')") == ()
