"""`…/analytics_engine/sql` answers as Cloudflare's SQL API, each query over the datasets of who it names; and the data
points of a tenant that is deleted are gone with it.
"""

from __future__ import annotations

from typing import Any

import pytest

from storage.analytics_store import StoredPoint
from storage.d1.limits import SQL_BYTES
from tests.control.support import Host, ok, script_path

SQL = "/client/v4/accounts/default/analytics_engine/sql"
DATASETS = "/client/v4/accounts/default/analytics_engine/datasets"
AT_MS = 1_795_542_797_000


def failed(response: Any, status: int) -> Any:
    """The error of a refusal."""
    assert response.status_code == status, response.text
    (error,) = response.json()["errors"]
    return error


def point(tenant: str = "", dataset: str = "visits", namespace: str = "customers") -> StoredPoint:
    return StoredPoint(namespace if tenant else "", tenant, dataset, AT_MS, tenant or "us", ("/",), (2.0,), 5)


async def asked(host: Host, sql: str, **params: str) -> Any:
    response = await host.api.post(SQL, content=sql, params=params)
    assert response.status_code == 200, response.text
    assert response.headers["cache-control"] == "no-store"
    return response.json()


@pytest.fixture
async def filled(host: Host) -> Host:
    await host.namespace("customers")
    for name in ("shop", "rival"):
        ok(await host.deploy(name, namespace="customers", tenant=name))
    await host.analytics.append(
        [point(), point("shop"), point("shop"), point("rival"), point("rival", "hidden")]
    )
    return host


async def test_answers_as_cloudflare_does(filled: Host) -> None:
    sql = (
        "SELECT index1, sum(double1 * _sample_interval) AS total, count(*) AS n FROM visits GROUP BY index1"
        " FORMAT JSON"
    )
    wanted = {
        "meta": [
            {"name": "index1", "type": "String"},
            {"name": "total", "type": "Float64"},
            {"name": "n", "type": "Int64"},
        ],
        "data": [{"index1": "us", "total": 2.0, "n": 1}],
        "rows": 1,
    }
    assert await asked(filled, sql) == wanted
    assert (await filled.api.get(SQL, params={"query": sql})).json() == wanted
    assert await asked(filled, "SHOW TABLES") == {
        "meta": [{"name": "dataset", "type": "String"}],
        "data": [{"dataset": "visits"}],
        "rows": 1,
    }


async def test_a_query_reads_of_whom_it_names_and_no_other(filled: Host) -> None:
    count = "SELECT count(*) AS n FROM visits"
    assert (await asked(filled, count))["data"] == [{"n": 1}]
    assert (await asked(filled, count, namespace="customers", tenant="shop"))["data"] == [{"n": 2}]
    assert (await asked(filled, count, namespace="customers"))["data"] == [{"n": 3}]
    by_tenant = "SELECT tenant, count(*) AS n FROM visits GROUP BY tenant ORDER BY tenant"
    assert (await asked(filled, by_tenant, namespace="customers"))["data"] == [
        {"tenant": "rival", "n": 1},
        {"tenant": "shop", "n": 2},
    ]
    hidden = await filled.api.post(
        SQL, content="SELECT * FROM hidden", params={"namespace": "customers", "tenant": "shop"}
    )
    assert "no such table: hidden" in failed(hidden, 400)["message"]


@pytest.mark.parametrize(
    ("sql", "params", "status", "words"),
    [
        ("", {}, 400, "query: one statement"),
        ("DELETE FROM points", {}, 400, "query: not authorized"),
        ("SELECT * FROM nowhere", {}, 400, "query: no such table: nowhere"),
        ("SELECT 1 FORMAT CSV", {}, 400, "JSON is"),
        ("SELECT 1", {"tenant": "shop"}, 400, "namespace: missing"),
        ("SELECT 1", {"namespace": "nowhere"}, 404, "nowhere"),
        ("SELECT 1", {"namespace": "A b"}, 400, "namespace name"),
        ("SELECT 1", {"namespace": "customers", "tenant": "a/b"}, 400, "tenant id"),
        (b"SELECT '\xff'", {}, 400, "no UTF-8"),
        ("x" * (SQL_BYTES + 1), {}, 413, "larger"),
    ],
)
async def test_what_can_not_be_answered_says_why(
    filled: Host, sql: str | bytes, params: dict[str, str], status: int, words: str
) -> None:
    assert words in failed(await filled.api.post(SQL, content=sql, params=params), status)["message"]


async def test_only_a_token_of_the_account_asks(filled: Host) -> None:
    for client in (filled.client(), filled.client({"authorization": "Bearer nonsense"})):
        async with client:
            for response in (await client.post(SQL, content="SELECT 1"), await client.get(DATASETS)):
                failed(response, 401)


async def test_values_that_json_has_no_word_for(filled: Host) -> None:
    answer = await asked(filled, "SELECT x'00ff' AS bytes, 9e999 AS infinite, NULL AS missing")
    assert answer["data"] == [{"bytes": "00ff", "infinite": None, "missing": None}]


async def test_datasets_are_listed_by_page_and_owner(filled: Host) -> None:
    everyone = ok(await filled.api.get(DATASETS))
    assert [(each["namespace"], each["tenant"], each["dataset"]) for each in everyone] == [
        (None, None, "visits"),
        ("customers", "rival", "hidden"),
        ("customers", "rival", "visits"),
        ("customers", "shop", "visits"),
    ]
    last = everyone[-1]
    assert (last["points"], last["oldest"], last["newest"]) == (
        2,
        "2026-11-24 17:53:17",
        "2026-11-24 17:53:17",
    )
    assert last["bytes"] > 0
    assert last["created_on"].endswith("Z")
    page = (await filled.api.get(DATASETS, params={"per_page": 2, "page": 2})).json()
    assert len(page["result"]) == 2
    assert page["result_info"]["total_count"] == 4
    one = ok(await filled.api.get(DATASETS, params={"namespace": "customers", "tenant": "rival"}))
    assert [each["dataset"] for each in one] == ["hidden", "visits"]


async def test_a_deleted_tenant_takes_its_points_along(filled: Host) -> None:
    ok(
        await filled.api.delete(
            "/client/v4/accounts/default/workers/dispatch/namespaces/customers/tenants/rival"
        )
    )
    left = ok(await filled.api.get(DATASETS))
    assert [(each["tenant"], each["points"]) for each in left] == [(None, 1), ("shop", 2)]


async def test_points_of_who_was_deleted_elsewhere_or_in_between_are_known_to_be_gone(filled: Host) -> None:
    tenants, now = filled.store.tenants, 10**15
    held = [
        ("customers", "shop", 0),
        ("customers", "rival", 0),
        ("nowhere", "shop", 0),
        ("customers", "rival", now),
    ]
    assert tenants.gone(held) == [("nowhere", "shop")]
    ok(
        await filled.api.delete(
            "/client/v4/accounts/default/workers/dispatch/namespaces/customers/tenants/rival"
        )
    )
    # Whenever they came: nobody of that name writes now.
    assert tenants.gone(held) == [("customers", "rival"), ("nowhere", "shop"), ("customers", "rival")]
    ok(await filled.deploy("rival", namespace="customers", tenant="rival"))
    # Of a tenant that is there again, what was there before it is another one's.
    assert tenants.gone(held) == [("customers", "rival"), ("nowhere", "shop")]


@pytest.mark.parametrize(
    ("sent", "dataset"), [({"dataset": "visits"}, "visits"), ({}, "VISITS"), ({"dataset": None}, "VISITS")]
)
async def test_a_binding_is_kept_and_shown(host: Host, sent: dict[str, Any], dataset: str) -> None:
    ok(await host.deploy("shop", bindings=[{"type": "analytics_engine", "name": "VISITS", **sent}]))
    shown = ok(await host.api.get(script_path("shop") + "/bindings"))
    assert shown == [{"type": "analytics_engine", "name": "VISITS", "dataset": dataset}]


@pytest.mark.parametrize("dataset", ["", "a-b", "7", "sqlite_a", 'a"b', "x" * 65])
async def test_a_dataset_that_could_be_no_table_is_refused(host: Host, dataset: str) -> None:
    sent = {"type": "analytics_engine", "name": "VISITS", "dataset": dataset}
    error = failed(await host.deploy("shop", bindings=[sent]), 400)
    assert error["source"]["pointer"] == "bindings[0].dataset"
