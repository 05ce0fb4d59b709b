"""Rule held: an audit record reaches the file whole or is counted as lost; no request waits for it, and what a
worker process sends is believed to be a record only if it is one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.audit_keeping import (
    FACTS_BYTES,
    ROWS_A_MESSAGE,
    AuditKeeper,
    AuditOutbox,
    AuditRetention,
    WireRow,
    from_wire,
    to_wire,
)
from model.clock import unix_ms
from model.identity import NamespaceName, RayId, ScriptName, TenantId
from model.scripts import OutboundStep
from outbound.audit import AuditRecord
from outbound.policy import Result
from outbound.reasons import Reason
from storage.audit_store import AuditQuery, AuditStore, audit_migrations
from storage.database import Database


def record(**changed: Any) -> AuditRecord:
    fields: dict[str, Any] = {
        "at_ms": unix_ms(),
        "tenant": TenantId("acme"),
        "namespace": NamespaceName("prod"),
        "script": ScriptName("shop"),
        "ray_id": RayId("8f0e"),
        "method": "GET",
        "host": "api.example.com",
        "path": "/v1",
        "result": Result.ALLOW,
        "reason": Reason.POLICY_RULE_ALLOW,
        "policy_reason": Reason.POLICY_RULE_ALLOW,
        "tags": ("pro",),
        "params": {"plan": "gold"},
    }
    return AuditRecord(**{**fields, **changed})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AuditStore]:
    made = AuditStore(Database.open(tmp_path / "audit.db", audit_migrations()))
    yield made
    made.close()


async def until_rows(store: AuditStore, count: int) -> None:
    """Wait until so many are there."""
    for _ in range(6_000):
        if len((await store.query(AuditQuery())).rows) == count:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"there never were {count} rows")


def test_a_record_arrives_as_it_was() -> None:
    given = record(policy_version="abc", layer="tenant", bytes_down=7, namespace=None)
    row = from_wire(to_wire(given))
    assert row is not None
    for name in ("at_ms", "tenant", "script", "ray_id", "method", "host", "path", "layer", "bytes_down"):
        assert getattr(row, name) == getattr(given, name)
    assert (row.namespace, row.result, row.reason) == ("", "allow", "policy.rule_allow")
    assert json.loads(row.facts) == {"tags": ["pro"], "params": {"plan": "gold"}}
    narrowed = from_wire(to_wire(record(tags=(), params={}, egress_hosts=("a.test",))))
    assert narrowed is not None
    assert json.loads(narrowed.facts) == {"tags": [], "params": {}, "egress": ["a.test"]}
    asked = from_wire(to_wire(record(tags=(), params={}, outbound=OutboundStep("guard", "continue"))))
    assert asked is not None
    step = {"worker": "guard", "how": "continue"}
    assert json.loads(asked.facts) == {"tags": [], "params": {}, "outbound": step}
    full = from_wire(to_wire(record(params={"p": "x" * 2_100}, outbound=OutboundStep("guard", "continue"))))
    assert full is not None
    assert json.loads(full.facts) == {"tags": ["pro"], "outbound": step, "truncated": True}
    plain = from_wire(to_wire(record(tags=(), params={}, policy_reason=None)))
    assert plain is not None
    assert (plain.facts, plain.policy_reason) == ("", "")


@pytest.mark.parametrize(
    ("tags", "params", "kept"),
    [
        (("a",), {"p": "x" * 1_900}, {"tags": ["a"], "params": {"p": "x" * 1_900}}),
        (("a",), {"p": "x" * 2_100}, {"tags": ["a"], "truncated": True}),
        (("a",), {"p": "\u20ac" * 700}, {"tags": ["a"], "truncated": True}),  # three bytes each
        (("\u20ac" * 128,) * 8, {}, {"truncated": True}),
    ],
)
def test_facts_are_bounded_and_say_what_is_left_out(
    tags: tuple[str, ...], params: dict[str, str], kept: dict[str, Any]
) -> None:
    row = from_wire(to_wire(record(tags=tags, params=params)))
    assert row is not None
    assert json.loads(row.facts) == kept
    assert len(row.facts.encode()) <= FACTS_BYTES


def test_half_a_surrogate_pair_of_a_guests_can_be_sent_and_kept() -> None:
    given = record(method="\ud800", params={"p": "\udfff\u20ac"})
    row = from_wire(to_wire(given))
    assert row is not None
    assert row.method == "?"
    assert json.loads(row.facts)["params"] == {"p": "?\u20ac"}
    "".join(str(value) for value in to_wire(given)).encode()  # does not raise


@pytest.mark.parametrize("change", range(10))
def test_what_is_no_row_is_not_taken_for_one(change: int) -> None:
    row: list[Any] = to_wire(record())
    bad: list[Any] = [
        None,
        "text",
        row[:-1],
        [*row, ""],
        ["1", *row[1:]],
        [True, *row[1:]],
        [-1, *row[1:]],
        [2**63, *row[1:]],
        [row[0], None, *row[2:]],
        [*row[:-1], "x" * 5_000],
    ]
    assert from_wire(row) is not None
    assert from_wire(bad[change]) is None


def test_what_finds_no_room_is_counted_and_what_waits_is_sent_when_there_is() -> None:
    sent: list[list[WireRow]] = []
    room = False

    def send(rows: list[WireRow]) -> bool:
        if room:
            sent.append(rows)
        return room

    outbox = AuditOutbox(send, capacity=ROWS_A_MESSAGE + 10)
    for number in range(ROWS_A_MESSAGE + 15):
        outbox.add(record(path=f"/{number}"))
        outbox.flush()
    assert (outbox.dropped, sent) == (5, [])
    room = True
    outbox.flush()
    assert [len(rows) for rows in sent] == [ROWS_A_MESSAGE, 10]
    assert [row[9] for rows in sent for row in rows] == [f"/{n}" for n in range(ROWS_A_MESSAGE + 10)]
    outbox.flush()
    assert len(sent) == 2


async def test_control_writes_what_arrives_and_the_rest_at_its_end(tmp_path: Path) -> None:
    store = AuditStore(Database.open(tmp_path / "audit.db", audit_migrations()))
    keeper = AuditKeeper(store, AuditRetention(1, 1 << 30))
    keeper.start()
    keeper.take([to_wire(record(path=f"/{number}")) for number in range(3)])
    await until_rows(store, 3)
    keeper.take([to_wire(record(path="/last")), "no row"])
    keeper.take("no rows")
    await keeper.close()
    assert keeper.dropped == 1
    again = AuditStore(Database.open(tmp_path / "audit.db", audit_migrations()))
    rows = (await again.query(AuditQuery())).rows
    assert [row.path for _, row in rows] == ["/last", "/2", "/1", "/0"]
    again.close()


async def test_what_is_too_old_is_gone_after_a_start(tmp_path: Path) -> None:
    old = AuditStore(Database.open(tmp_path / "audit.db", audit_migrations()), lambda: 1_000)
    row = from_wire(to_wire(record()))
    assert row is not None
    await old.append([row])
    old.close()
    store = AuditStore(Database.open(tmp_path / "audit.db", audit_migrations()))
    keeper = AuditKeeper(store, AuditRetention(1, 1 << 30))
    keeper.start()
    await until_rows(store, 0)
    await keeper.close()


async def test_a_disk_that_fails_costs_records_and_is_counted(store: AuditStore) -> None:
    keeper = AuditKeeper(store, AuditRetention(1, 1 << 30))
    store._database.close()
    keeper.take([to_wire(record())] * 3)
    await keeper.close()
    assert keeper.dropped == 3
