"""Data points that workers write in any process are queried by the platform, and by nobody else's name."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest

from demo.upstream import start_api, start_dns
from tests.acceptance.platform import Platform, wait_until


def rows(host: Platform, sql: str, *whose: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(host.run("analytics", "query", sql, *whose, "--json"))["data"]
    return found


def until_counted(host: Platform, wanted: int, *whose: str) -> None:
    """Wait until the dataset is there and holds so many visits."""
    sql = "SELECT sum(double1) AS visits FROM visits"

    def counted() -> bool:
        status, answer = host.api("POST", _address(*whose), sql.encode())
        return status == 200 and answer["data"][0]["visits"] == wanted

    wait_until(counted)


def _address(*whose: str) -> str:
    pairs = zip(whose[::2], whose[1::2], strict=True)
    query = "&".join(f"{name.removeprefix('--')}={value}" for name, value in pairs)
    return f"/client/v4/accounts/default/analytics_engine/sql?{query}"


def test_visits_of_all_processes_are_counted_each_for_its_owner(platform: Platform) -> None:
    host = platform
    assert len(host.workers()) > 1
    for name, tenant in (("visits", "acme"), ("visits-too", "acme"), ("visits-other", "rival")):
        host.deploy("visits", name, "--tenant", tenant, "--analytics", "VISITS=visits", namespace="counted")
    host.deploy("visits", "visits-plain", "--analytics", "VISITS=visits", namespace=None)
    # A new connection each, so that each process answers some.
    for number in range(20):
        name = ("visits", "visits-too")[number % 2]
        assert (
            host.request(f"{name}.localhost", f"/{number % 4}").body == f"Counted a visit to /{number % 4}\n"
        )
    for name in ("visits-other", "visits-plain"):
        host.request(f"{name}.localhost", "/secret-of-theirs", method="POST", body=b"four")

    acme = ("--namespace", "counted", "--tenant", "acme")
    until_counted(host, 20, *acme)
    sql = "SELECT blob1 AS path, count(*) AS n FROM visits GROUP BY path ORDER BY path"
    assert rows(host, sql, *acme) == [{"path": f"/{n}", "n": 5} for n in range(4)]
    until_counted(host, 21, "--namespace", "counted")
    by_tenant = "SELECT tenant, sum(double2) AS bytes FROM visits GROUP BY tenant ORDER BY tenant"
    assert rows(host, by_tenant, "--namespace", "counted") == [
        {"tenant": "acme", "bytes": 0.0},
        {"tenant": "rival", "bytes": 4.0},
    ]
    until_counted(host, 1)
    assert rows(host, "SELECT index1 FROM visits") == [{"index1": "visits-plain.localhost"}]
    assert "visits-plain.localhost" in host.run("analytics", "query", "SELECT index1 FROM visits")

    listed = json.loads(host.run("analytics", "datasets", "--namespace", "counted", "--json"))
    assert [(each["tenant"], each["points"]) for each in listed] == [("acme", 20), ("rival", 1)]
    assert "rival" in host.run("analytics", "datasets")
    assert host.metrics()["tenantry_analytics_points_total"] >= 22
    assert host.metrics()["tenantry_analytics_points_dropped_total"] == 0
    refused = host.run("analytics", "query", "SELECT * FROM main.points", expect=1)
    assert "theirs" not in refused

    host.run("tenants", "delete", "counted", "acme", "--yes")
    left = json.loads(host.run("analytics", "datasets", "--namespace", "counted", "--json"))
    assert [each["tenant"] for each in left] == ["rival"]
    assert "all is well" in host.run("fsck", "--data", str(host.data), "--deep")


def test_a_groups_processes_write_for_workers_of_their_group(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("grouped")
    host = Platform(folder, start_dns(), start_api(), "vip:namespace=vip", 1)
    try:
        host.start()
        for namespace in ("vip", "others"):
            name = f"visits-{namespace}"
            host.deploy(
                "visits", name, "--tenant", "acme", "--analytics", "VISITS=visits", namespace=namespace
            )
            assert host.request(f"{name}.localhost").status == 200
        for namespace in ("vip", "others"):
            until_counted(host, 1, "--namespace", namespace)
        wait_until(lambda: host.ran_in("visits-vip") == {"vip-0"})
        assert host.metrics()["tenantry_analytics_points_dropped_total"] == 0
    finally:
        host.stop()


def test_points_outlive_a_restart_and_the_death_of_control(own_platform: Platform) -> None:
    host = own_platform
    host.deploy("visits", "visits", "--analytics", "VISITS=visits", namespace=None)
    host.request("visits.localhost")
    until_counted(host, 1)
    (before,) = host.controls()
    os.kill(before, signal.SIGKILL)
    # Control is away, and no visitor waits for it.
    assert host.request("visits.localhost").status == 200
    wait_until(lambda: host.controls() not in ([], [before]))
    wait_until(host.api_answers)
    until_counted(host, 2)
    host.request("visits.localhost")
    # Ending in order takes along what was not written yet.
    assert host.stop() == 0
    host.start()
    until_counted(host, 3)
