"""Data points of nobody are told of, and so is a count that is wrong; a host puts both right by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest

from storage.analytics_store import StoredPoint
from storage.fsck import check_files
from storage.fsck_analytics import check_analytics
from storage.fsck_findings import Finding, Severity
from tests.control.support import NAMESPACES, Host, ok


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    built = Host(tmp_path)
    await built.namespace("prod")
    ok(await built.deploy("shop", "prod", tenant="acme"))
    owners = [("", ""), ("prod", "acme"), ("prod", "never-deployed")]
    await built.analytics.append([StoredPoint(*owner, "visits", 0, "", (), (), 0) for owner in owners])
    yield built
    await built.close()


def check(folder: Path, *, deep: bool = True) -> list[Finding]:
    assert not list(check_files(folder, deep=deep))
    return list(check_analytics(folder, deep=deep))


async def test_nothing_is_found_where_nothing_is_wrong(host: Host) -> None:
    assert check(host.folder) == []


async def test_points_of_a_deleted_tenant_and_of_a_namespace_that_is_gone_are_told(host: Host) -> None:
    ok(await host.api.delete(f"{NAMESPACES}/prod/tenants/acme"))
    assert check(host.folder) == []
    late = [StoredPoint(namespace, "acme", "visits", 0, "", (), (), 0) for namespace in ("prod", "nowhere")]
    await host.analytics.append(late)
    found = check(host.folder)
    assert {each.severity for each in found} == {Severity.WARNING}
    assert [each.what.partition(",")[0] for each in found] == [
        "data points of tenant nowhere/acme",
        "data points of tenant prod/acme",
    ]
    # Until there is somebody of that name again.
    ok(await host.deploy("shop", "prod", tenant="acme"))
    assert len(check(host.folder)) == 1


async def test_a_wrong_count_is_told_by_a_deep_look(host: Host) -> None:
    connection = apsw.Connection(str(host.folder / "analytics.db"))
    connection.execute("UPDATE datasets SET points = 7 WHERE namespace = ''").fetchall()
    connection.close()
    assert check(host.folder, deep=False) == []
    (found,) = check(host.folder)
    assert (found.check, found.severity) == ("counts", Severity.WARNING)
