"""`tenantry doctor --database`: connects, says what is wrong and what to do, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cli.checks import State
from cli.database_check import check_database, judge
from storage.postgres.address import DatabaseAddress
from storage.postgres.schema import PLATFORM_STREAMS, PgMigrations
from tests.support.postgres import Cluster


def test_empty_database_is_well_and_stays_empty(postgres: Cluster, database_address: DatabaseAddress) -> None:
    for _ in range(2):
        (check,) = check_database(database_address)
        assert check.state is State.OK
        assert f"takes {len(PgMigrations.load(*PLATFORM_STREAMS).steps)} steps" in check.detail


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda address: address.with_password("wrong"), "user or password"),
        (lambda address: DatabaseAddress("127.0.0.1", 1, "d", "u"), "can't be reached"),
        (lambda address: DatabaseAddress("127.0.0.1", address.port, "none", address.user, password=address.password),
         "no such database"),
        (lambda address: DatabaseAddress("localhost", address.port, address.database, address.user, "verify-full",
                                         password=address.password), "reached"),
    ],
    ids=["password", "port", "database", "tls"],
)  # fmt: skip
def test_what_does_not_connect_is_named(
    database_address: DatabaseAddress, change: Callable[[DatabaseAddress], DatabaseAddress], said: str
) -> None:
    (check,) = check_database(change(database_address))
    assert check.state is State.FAILED
    assert said in check.detail
    assert check.fix


@pytest.mark.parametrize(
    ("number", "fsyncs", "is_standby", "may_create", "missing", "state"),
    [
        (150_000, True, False, True, [], State.OK),
        (149_999, True, False, True, [], State.FAILED),
        (150_000, True, True, True, [], State.FAILED),
        (150_000, True, False, False, ["kv 1"], State.FAILED),
        (150_000, True, False, False, [], State.OK),  # nothing is to be made
        (150_000, False, False, True, [], State.WARNING),
    ],
)
def test_what_was_found_is_judged(
    number: int, fsyncs: bool, is_standby: bool, may_create: bool, missing: list[str], state: State
) -> None:
    (check,) = judge("here", number, "x", fsyncs, is_standby, may_create, missing)
    assert check.state is state
    assert bool(check.fix) is (state is not State.OK)
