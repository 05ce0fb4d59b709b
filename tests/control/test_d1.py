"""SQL databases over the API, in Cloudflare's shapes: made, listed, queried, dumped, put back, deleted."""

from __future__ import annotations

import pytest

from tests.control.support import ACCOUNT, Host, ok, refused

D1 = f"{ACCOUNT}/d1/database"


async def make(host: Host, name: str = "shop", **more: str) -> str:
    return str(ok(await host.api.post(D1, json={"name": name, **more}))["uuid"])


async def rows(host: Host, database: str, sql: str) -> object:
    return ok(await host.api.post(f"{D1}/{database}/query", json={"sql": sql}))[0]["results"]


async def test_a_database_is_made_found_by_id_and_name_and_deleted(host: Host) -> None:
    made = ok(await host.api.post(D1, json={"name": "shop", "primary_location_hint": "weur"}))
    assert made["version"] == "production"
    assert made["num_tables"] == 0
    assert made["file_size"] > 0
    for wanted in (made["uuid"], "shop"):
        assert ok(await host.api.get(f"{D1}/{wanted}"))["uuid"] == made["uuid"]
    refused(await host.api.post(D1, json={"name": "shop"}), 400, 7502, "name")
    assert ok(await host.api.delete(f"{D1}/{made['uuid']}")) is None
    refused(await host.api.get(f"{D1}/shop"), 404, 7404)
    assert not list((host.folder / "d1").iterdir())


@pytest.mark.parametrize("name", ["", "-x", "a b", "../x", "x" * 65, "ü"])
async def test_a_strange_name_is_refused_and_makes_no_file(host: Host, name: str) -> None:
    refused(await host.api.post(D1, json={"name": name}), 400, 10016, "name")
    assert not list((host.folder / "d1").iterdir())


async def test_lists_are_paged_and_filtered_by_a_part_of_the_name(host: Host) -> None:
    for name in ("shop-a", "shop-b", "blog"):
        await make(host, name)
    answer = (await host.api.get(D1, params={"name": "shop", "per_page": 1, "page": 2})).json()
    assert [one["name"] for one in answer["result"]] == ["shop-b"]
    assert answer["result_info"]["total_count"] == 2
    assert ok(await host.api.get(D1, params={"page": 9})) == []


async def test_queries_answer_one_result_a_statement(host: Host) -> None:
    database = await make(host)
    first, second = ok(
        await host.api.post(
            f"{D1}/{database}/query",
            json={"sql": "CREATE TABLE t (a, b); INSERT INTO t VALUES (1, x'00ff');"},
        )
    )
    assert (first["results"], second["meta"]["changes"]) == ([], 1)
    asked = {"sql": "SELECT a, b FROM t WHERE a = ?", "params": [1]}
    assert ok(await host.api.post(f"{D1}/{database}/query", json=asked))[0]["results"] == [
        {"a": 1, "b": [0, 255]}
    ]
    raw = ok(await host.api.post(f"{D1}/{database}/raw", json=asked))[0]["results"]
    assert raw == {"columns": ["a", "b"], "rows": [[1, [0, 255]]]}
    batch = {"batch": [{"sql": "SELECT ? AS x", "params": ["1"]}, {"sql": "SELECT 2 AS x"}]}
    answer = ok(await host.api.post(f"{D1}/{database}/query", json=batch))
    assert [one["results"] for one in answer] == [[{"x": "1"}], [{"x": 2}]]
    assert ok(await host.api.get(f"{D1}/{database}"))["num_tables"] == 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"sql": "SELEKT 1"}, "syntax error"),
        ({"sql": "SELECT * FROM nowhere"}, "no such table"),
        ({"sql": "PRAGMA database_list"}, "not authorized"),
        ({"sql": "ATTACH 'x' AS y"}, "not authorized"),
        ({"sql": "BEGIN"}, "not authorized"),
        ({"sql": "SELECT 1; SELECT x"}, "no such column"),
        ({"sql": "SELECT ?", "params": []}, "Wrong number"),
        ({"sql": "SELECT ?", "params": [{"a": 1}]}, "D1_TYPE_ERROR"),
    ],
)
async def test_wrong_sql_is_400_with_sqlites_words(host: Host, body: object, message: str) -> None:
    database = await make(host)
    assert message in refused(await host.api.post(f"{D1}/{database}/query", json=body), 400, 7500)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"sql": "SELECT 1", "batch": []},
        {"sql": ""},
        {"batch": []},
        {"sql": "SELECT 1; SELECT ?", "params": [1]},
    ],
)
async def test_a_query_without_a_statement_is_refused(host: Host, body: object) -> None:
    database = await make(host)
    refused(await host.api.post(f"{D1}/{database}/query", json=body), 400, 10021)


async def test_several_statements_are_one_transaction(host: Host) -> None:
    database = await make(host)
    await rows(host, database, "CREATE TABLE t (a UNIQUE)")
    sql = "INSERT INTO t VALUES (1); INSERT INTO t VALUES (1);"
    refused(await host.api.post(f"{D1}/{database}/query", json={"sql": sql}), 400, 7500)
    assert await rows(host, database, "SELECT count(*) AS n FROM t") == [{"n": 0}]


SCHEMA = (
    "CREATE TABLE p (id INTEGER PRIMARY KEY AUTOINCREMENT, t TEXT, g AS (t || '!'));"
    'CREATE TABLE c (p REFERENCES p (id), b BLOB, r REAL, [odd "name] TEXT);'
    "CREATE INDEX i ON c (r); CREATE VIEW v AS SELECT * FROM p;"
    "CREATE TRIGGER x AFTER INSERT ON p BEGIN INSERT INTO c (p, r) VALUES (new.id, 0.1); END;"
    "INSERT INTO p (t) VALUES ('it''s'), ('ü;' || char(10) || '--'), ('nul' || char(0) || 'there');"
    "INSERT INTO c VALUES (1, x'00ff', 1e300, NULL);"
)


async def test_a_dump_is_read_back_the_same(host: Host) -> None:
    database, copy = await make(host), await make(host, "copy")
    await rows(host, database, SCHEMA)
    dump = await host.api.get(f"{D1}/{database}/dump")
    assert dump.status_code == 200
    loaded = ok(await host.api.put(f"{D1}/{copy}/dump", content=dump.content))
    assert loaded["num_queries"] > 10
    for sql in (
        "SELECT id, hex(t), hex(g) FROM p ORDER BY id",
        'SELECT p, hex(b), r, "odd ""name" FROM c ORDER BY p, r',
        "SELECT type, name FROM sqlite_schema ORDER BY 1, 2",
        "SELECT * FROM sqlite_sequence",
    ):
        assert await rows(host, copy, sql) == await rows(host, database, sql), sql
    assert (await host.api.get(f"{D1}/{copy}/dump")).content == dump.content


async def test_a_dump_of_sqlites_own_is_read_and_one_that_fails_changes_nothing(host: Host) -> None:
    database = await make(host)
    text = "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCREATE TABLE t(a);\nINSERT INTO t VALUES(1);\nCOMMIT;\n"
    assert ok(await host.api.put(f"{D1}/{database}/dump", content=text))["num_queries"] == 2
    broken = "INSERT INTO t VALUES (2);\nATTACH 'x' AS y;\n"
    assert "line 2" in refused(await host.api.put(f"{D1}/{database}/dump", content=broken), 400, 7500)
    assert await rows(host, database, "SELECT a FROM t") == [{"a": 1}]


async def test_parts_of_a_dump(host: Host) -> None:
    database = await make(host)
    await rows(host, database, SCHEMA)
    only = (await host.api.get(f"{D1}/{database}/dump", params={"table": "c", "no_schema": "true"})).text
    assert "CREATE" not in only
    assert '"p"(' not in only
    assert (
        'INSERT INTO "' not in (await host.api.get(f"{D1}/{database}/dump", params={"no_data": "true"})).text
    )


async def test_an_earlier_state_comes_back_and_the_way_back_too(host: Host) -> None:
    database = await make(host)
    await rows(host, database, "CREATE TABLE t (a); INSERT INTO t VALUES (1);")
    mark = ok(await host.api.get(f"{D1}/{database}/time_travel/bookmark"))
    await rows(host, database, "DROP TABLE t")
    where = f"{D1}/{database}/time_travel/restore"
    done = ok(await host.api.post(where, params={"bookmark": mark["bookmark"]}))
    assert await rows(host, database, "SELECT a FROM t") == [{"a": 1}]
    assert done["bookmark"] > done["previous_bookmark"] > done["restored_bookmark"] == mark["bookmark"]
    ok(await host.api.post(where, params={"bookmark": done["previous_bookmark"]}))
    refused(await host.api.post(f"{D1}/{database}/query", json={"sql": "SELECT a FROM t"}), 400, 7500)
    ok(await host.api.post(where, params={"timestamp": mark["timestamp"]}))
    assert await rows(host, database, "SELECT a FROM t") == [{"a": 1}]


@pytest.mark.parametrize(
    ("params", "status", "code"),
    [
        ({}, 400, 10021),
        ({"bookmark": "0" * 16, "timestamp": "1"}, 400, 10021),
        ({"bookmark": "x"}, 400, 7500),
        ({"timestamp": "yesterday"}, 400, 10021),
        ({"bookmark": "0" * 15 + "9"}, 404, 7404),
        ({"timestamp": "1000"}, 404, 7404),
    ],
)
async def test_a_state_that_is_not_kept_can_not_come_back(
    host: Host, params: dict[str, str], status: int, code: int
) -> None:
    database = await make(host)
    refused(await host.api.post(f"{D1}/{database}/time_travel/restore", params=params), status, code)


async def test_one_tenants_database_is_not_bound_to_another(host: Host) -> None:
    await host.namespace()
    database = await make(host, tenant="acme", namespace="prod")
    binding = {"type": "d1", "name": "DB", "id": database}
    refused(await host.deploy("shop", "prod", tenant="globex", bindings=[binding]), 403, 10021)
    shared = await host.deploy("shop", "prod", tenant="globex", bindings=[{**binding, "shared": True}])
    assert shared.status_code == 200
    ok(
        await host.deploy(
            "own", "prod", tenant="acme", bindings=[{"type": "d1", "name": "DB", "database_id": database}]
        )
    )
    shown = ok(await host.api.get(f"{ACCOUNT}/workers/dispatch/namespaces/prod/scripts/own/bindings"))
    assert shown == [{"type": "d1", "name": "DB", "id": database, "database_id": database}]
    refused(await host.api.delete(f"{D1}/{database}"), 409, 20008)
    ok(await host.api.delete(f"{D1}/{database}", params={"force": "true"}))
    refused(await host.deploy("late", "prod", bindings=[binding]), 400, 10021)


async def test_a_namespace_takes_its_tenants_databases_with_it(host: Host) -> None:
    await host.namespace()
    await make(host, tenant="acme", namespace="prod")
    ok(await host.api.delete(f"{ACCOUNT}/workers/dispatch/namespaces/prod", params={"force": "true"}))
    assert ok(await host.api.get(D1)) == []
    assert not list((host.folder / "d1").iterdir())
