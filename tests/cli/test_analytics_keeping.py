"""Rule held: a data point reaches the file as the script's own, or is counted as lost. No worker waits for it, no
tenant takes all of the room, and what a worker process sends is believed as far as it is a point of one of its scripts.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cli.analytics_keeping import (
    MESSAGE_BYTES,
    ONE_TENANTS,
    PointKeeper,
    PointOutbox,
    PointRetention,
    WirePoint,
    from_wire,
    owner_of_points,
)
from model.analytics import DataPoint
from model.clock import unix_ms
from model.identity import NamespaceName, ScriptName, TenantId
from model.scripts import ScriptRef
from storage.analytics_query import Scope
from storage.analytics_store import AnalyticsStore, StoredPoint, analytics_migrations
from storage.control_records import ACCOUNT_OWNED, Owner
from storage.database import Database
from storage.failures import DiskFull
from tests.support.waiting import until

SHOP = ScriptRef(NamespaceName("prod"), ScriptName("shop"))
ACME = TenantId("acme")
OWNER = Owner(NamespaceName("prod"), ACME)
POINT = DataPoint("i", ("a", "b"), (1.0, 2.5), 3)
WIRE: WirePoint = ["prod", "shop", "visits", 1_795_542_797_000, "i", ["a", "b"], [1.0, 2.5]]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AnalyticsStore]:
    made = AnalyticsStore(Database.open(tmp_path / "analytics.db", analytics_migrations()))
    yield made
    made.close()


def keeper(store: AnalyticsStore, **changed: Any) -> PointKeeper:
    given: dict[str, Any] = {
        "retention": PointRetention(1.0, 1 << 30),
        "owner_of": lambda ref, group: OWNER if (ref, group) == (SHOP, "") else None,
        "gone": lambda held: [],
    }
    return PointKeeper(store, **{**given, **changed})


# -- the worker's side -------------------------------------------------------------------------------


def test_a_point_is_sent_as_it_was_written_with_its_time() -> None:
    sent: list[list[WirePoint]] = []
    outbox = PointOutbox(lambda points: sent.append(points) or True, lambda: 1_795_542_797_000)  # type: ignore[func-returns-value]
    outbox.flush()
    assert sent == []
    outbox.add(SHOP, ACME, "visits", POINT)
    outbox.add(ScriptRef(None, ScriptName("front")), TenantId("front"), "usage", DataPoint("", (), (), 0))
    outbox.flush()
    outbox.flush()
    assert sent == [[WIRE, ["", "front", "usage", 1_795_542_797_000, "", [], []]]]


def test_what_finds_no_room_on_the_channel_waits_and_is_sent_in_order() -> None:
    sent: list[list[WirePoint]] = []
    answers = iter([True, False, False, *[True] * 100])

    def send(points: list[WirePoint]) -> bool:
        went = next(answers)
        if went:
            sent.append(points)
        return went

    outbox = PointOutbox(send, most_bytes=1 << 30)
    for number in range(2_000):
        outbox.add(SHOP, ACME, "visits", DataPoint(str(number), (), (), 0))
    outbox.flush()
    outbox.flush()
    outbox.flush()
    told = [point[4] for points in sent for point in points]
    assert told == [str(number) for number in range(2_000)]
    assert len(sent) > 2
    assert outbox.dropped == 0


def test_a_message_is_bounded_whatever_its_points_hold() -> None:
    sent: list[list[WirePoint]] = []
    outbox = PointOutbox(lambda points: sent.append(points) or True, most_bytes=1 << 30)  # type: ignore[func-returns-value]
    for _ in range(100):
        outbox.add(SHOP, ACME, "visits", DataPoint("", ("x" * 16_384,), (), 16_384))
    outbox.flush()
    assert sum(map(len, sent)) == 100
    for points in sent:
        assert len(msgspec.msgpack.encode(points)) <= MESSAGE_BYTES + 17_000


def test_who_floods_loses_its_own_points_and_others_keep_room() -> None:
    sent: list[list[WirePoint]] = []
    outbox = PointOutbox(lambda points: sent.append(points) or True, most_bytes=160_000)  # type: ignore[func-returns-value]
    large = DataPoint("", ("x" * 1_400,), (), 1_400)
    for _ in range(100):
        outbox.add(SHOP, ACME, "visits", large)
    kept = 160_000 // ONE_TENANTS // 2_000
    assert outbox.dropped == 100 - kept
    outbox.add(SHOP, TenantId("quiet"), "visits", POINT)
    assert outbox.dropped == 100 - kept
    outbox.flush()
    assert sum(map(len, sent)) == kept + 1
    # What was sent gives its room back.
    for _ in range(kept):
        outbox.add(SHOP, ACME, "visits", large)
    assert outbox.dropped == 100 - kept


# -- on the way --------------------------------------------------------------------------------------


def test_a_point_arrives_as_its_scripts_owners() -> None:
    stored = StoredPoint("prod", "acme", "visits", 1_795_542_797_000, "i", ("a", "b"), (1.0, 2.5), 3)
    assert from_wire(WIRE, lambda ref: OWNER if ref == SHOP else None, unix_ms() + 10**12) == stored
    assert from_wire(tuple(WIRE), lambda ref: ACCOUNT_OWNED, 1 << 60) == StoredPoint(
        "", "", "visits", 1_795_542_797_000, "i", ("a", "b"), (1.0, 2.5), 3
    )
    assert owner_of_points(SHOP, ACME) == OWNER
    assert owner_of_points(ScriptRef(None, ScriptName("front")), ACME) == ACCOUNT_OWNED


def test_a_time_to_come_is_now_and_one_long_ago_not_too_long() -> None:
    for given, now_ms, wanted in (
        (2**62, 1_795_542_797_000, 1_795_542_797_000),
        (-(2**62), 1 << 60, 1_600_000_000_000),
    ):
        stored = from_wire([*WIRE[:3], given, *WIRE[4:]], lambda ref: OWNER, now_ms)
        assert stored is not None
        assert stored.at_ms == wanted


@pytest.mark.parametrize(
    "value",
    [
        None, 7, "text", {}, [], WIRE[:6], [*WIRE, 1],
        [None, *WIRE[1:]],
        ["no namespace", *WIRE[1:]],
        ["prod", "", *WIRE[2:]],
        ["prod", "a/b", *WIRE[2:]],
        [*WIRE[:2], "a b", *WIRE[3:]],
        [*WIRE[:2], 7, *WIRE[3:]],
        [*WIRE[:3], "now", *WIRE[4:]],
        [*WIRE[:3], True, *WIRE[4:]],
        [*WIRE[:4], 7, *WIRE[5:]],
        [*WIRE[:4], "x" * 97, *WIRE[5:]],
        [*WIRE[:5], "ab", WIRE[6]],
        [*WIRE[:5], ["a"] * 21, WIRE[6]],
        [*WIRE[:5], [7], WIRE[6]],
        [*WIRE[:5], ["x" * 20_000], WIRE[6]],
        [*WIRE[:5], ["\u20ac" * 6_000], WIRE[6]],
        [*WIRE[:6], [1.0] * 21],
        [*WIRE[:6], [1]],
        [*WIRE[:6], ["1"]],
        [*WIRE[:6], None],
    ],
)  # fmt: skip
def test_what_is_no_point_is_none(value: object) -> None:
    assert from_wire(value, lambda ref: OWNER, unix_ms()) is None


def test_a_point_of_a_script_that_is_not_there_is_none() -> None:
    assert from_wire(WIRE, lambda ref: None, unix_ms()) is None


# -- control's side ----------------------------------------------------------------------------------


async def test_points_are_written_in_time_and_counted(store: AnalyticsStore) -> None:
    keeping = keeper(store)
    keeping.start()
    keeping.take("", [WIRE, WIRE])
    await until(lambda: keeping.written == 2)
    keeping.take("", [WIRE])
    await until(lambda: keeping.written == 3)
    answer = await store.query("SELECT count(*) FROM visits", Scope("prod", "acme"))
    assert (answer.rows[0], keeping.dropped) == ((3,), 0)
    await keeping.close()


async def test_what_waits_when_control_ends_is_written(tmp_path: Path) -> None:
    path = tmp_path / "analytics.db"
    keeping = keeper(AnalyticsStore(Database.open(path, analytics_migrations())))
    keeping.start()
    keeping.take("", [WIRE] * 5_000)
    await keeping.close()
    assert keeping.written == 5_000
    again = AnalyticsStore(Database.open(path, analytics_migrations()))
    assert [info.points for info in (await again.datasets(None, None, 10, 0))[0]] == [5_000]
    again.close()


@pytest.mark.parametrize("payload", [None, 7, {}, "text"])
async def test_a_message_that_is_none_is_passed_over(store: AnalyticsStore, payload: object) -> None:
    keeping = keeper(store)
    keeping.take("", payload)
    await keeping._write_some()
    assert (keeping.written, keeping.dropped) == (0, 0)


async def test_a_process_writes_for_scripts_of_its_group_alone(store: AnalyticsStore) -> None:
    keeping = keeper(store)
    other = ["prod", "bank", *WIRE[2:]]
    keeping.take("", [WIRE, other])
    keeping.take("pci", [WIRE, other, 7])
    assert keeping.dropped == 4
    await keeping._write_some()
    assert keeping.written == 1


async def test_who_floods_control_loses_its_own_points_alone(store: AnalyticsStore) -> None:
    rival = ScriptRef(NamespaceName("prod"), ScriptName("rival"))
    owners = {SHOP: OWNER, rival: Owner(NamespaceName("prod"), TenantId("rival"))}
    keeping = keeper(store, owner_of=lambda ref, group: owners[ref], most_bytes=80_000)
    keeping.take("", [WIRE] * 1_000)
    dropped = keeping.dropped
    assert 0 < dropped < 1_000
    keeping.take("", [["prod", "rival", *WIRE[2:]]])
    assert keeping.dropped == dropped
    while keeping._waiting:
        await keeping._write_some()
    assert keeping.written == 1_001 - dropped
    keeping.take("", [WIRE])
    assert keeping.dropped == dropped


async def test_a_disk_that_fails_costs_points_and_is_told(
    store: AnalyticsStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(points: object) -> int:
        raise DiskFull("the storage is full")

    keeping = keeper(store)
    with monkeypatch.context() as patch:
        patch.setattr(store, "append", fails)
        keeping.take("", [WIRE])
        await keeping._write_some()
    assert (keeping.written, keeping.dropped) == (0, 1)
    assert "1 data points were lost: the storage is full" in caplog.text
    keeping.take("", [WIRE])
    await keeping._write_some()
    assert keeping.written == 1


async def test_old_points_and_those_of_tenants_that_are_gone_are_forgotten(store: AnalyticsStore) -> None:
    now = unix_ms()
    asked: list[tuple[str, str, int]] = []

    def gone(held: Any) -> list[tuple[str, str]]:
        asked.extend(held)
        return [("prod", "left")]

    def of(tenant: str, at_ms: int) -> StoredPoint:
        return StoredPoint("prod", tenant, "visits", at_ms, "", (), (), 0)

    await store.append([of("left", now), of("acme", now), of("acme", now - 3 * 86_400_000)])
    await keeper(store, gone=gone).prune()
    found, _ = await store.datasets(None, None, 10, 0)
    assert [(info.tenant, info.points) for info in found] == [("acme", 1)]
    assert [each[:2] for each in asked] == [("prod", "acme"), ("prod", "left")]
