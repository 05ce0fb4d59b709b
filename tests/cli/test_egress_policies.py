"""Rule held: what is in force decides the next request; nothing is parsed twice, nor on the loop; what can't be
read denies.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from cli import egress_policies
from cli.egress_policies import EgressPolicies, ParsedLayer
from dispatch.route_index import RouteIndex
from model.errors import OperationError, OperationErrorCode
from model.identity import NamespaceName, TenantId
from outbound.policy import DENY_ALL, EgressPolicy
from outbound.policy_parse import parse_policy
from storage.changes import ChangeSequence
from storage.control_store import ControlStore
from storage.egress_records import Author, Layer, PolicyDraft, PolicyKey
from tests.outbound.conftest import event

PROD = NamespaceName("customers")
ME = Author("1", "ops")

#: layer, name, widen, the name of the one rule.
Joined = tuple[tuple[str, str, bool, str], ...]


def text(rule: str) -> str:
    return f"version: 1\nrules:\n  - {{name: {rule}, action: allow}}\n"


def join(layers: Sequence[ParsedLayer]) -> Joined:
    return tuple(
        (layer.layer, layer.name, layer.widen, policy.rules[0].name if policy.rules else "denies")
        for layer, policy in layers
    )


class Bench:
    """A control store that is changed, and a worker's view of the same files."""

    def __init__(self, folder: Path) -> None:
        self.sequences = [ChangeSequence(folder / "changes.seq") for _ in range(2)]
        self.control = ControlStore.open(folder / "control.db", self.sequences[0])
        self.worker = ControlStore.open(folder / "control.db", self.sequences[1], read_only=True)
        self.index = RouteIndex(self.worker)
        self.policies = self.made()

    def made(self, text_bytes: int = 1 << 20) -> EgressPolicies[Joined]:
        policies = EgressPolicies(self.worker.policies, self.index.refresh, join, text_bytes)
        self.index.on_change(policies.changed)
        return policies

    async def put(
        self, rule: str, layer: Layer = Layer.NAMESPACE, name: str = "", *, widen: bool = False
    ) -> None:
        await self.control.policies.put(PolicyKey(PROD, layer, name), PolicyDraft(text(rule), widen), ME)

    async def holds(self, tenant: str = "acme", *tags: str) -> Joined:
        found = self.policies.policy_for(replace(event(tenant), tags=tags))
        return await found if isinstance(found, Awaitable) else found

    def close(self) -> None:
        self.policies.close()
        self.control.close()
        self.worker.close()
        for sequence in self.sequences:
            sequence.close()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    await made.control.namespaces.create(PROD, trusted=False)
    yield made
    made.close()


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, threading.Thread]]:
    """Each text that was parsed, and in which thread."""
    seen: list[tuple[str, threading.Thread]] = []

    def parse(document: str) -> EgressPolicy:
        seen.append((document, threading.current_thread()))
        return parse_policy(document)

    monkeypatch.setattr(egress_policies, "parse_policy", parse)
    return seen


async def test_layers_are_joined_in_order_and_only_those_of_the_event(bench: Bench) -> None:
    assert await bench.holds() == ()
    await bench.put("ns")
    await bench.put("pro", Layer.TAG, "pro")
    await bench.put("eu", Layer.TAG, "eu", widen=True)
    await bench.put("acme", Layer.TENANT, "acme")
    assert await bench.holds("acme", "pro", "eu") == (
        ("namespace", "", False, "ns"),
        ("tag", "eu", True, "eu"),
        ("tag", "pro", False, "pro"),
        ("tenant", "acme", False, "acme"),
    )
    assert await bench.holds("other") == (("namespace", "", False, "ns"),)


async def test_a_hit_answers_at_once_and_a_change_is_seen_by_the_next_request(bench: Bench) -> None:
    await bench.put("first")
    first = await bench.holds()
    assert bench.policies.policy_for(event("acme")) is first
    for change, expected in (
        (bench.put("second"), [("namespace", "", False, "second")]),
        (bench.put("mine", Layer.TENANT, "acme"), [("tenant", "acme", False, "mine")]),
        (bench.put("tagged", Layer.TAG, "a/b"), [("tag", "a/b", False, "tagged")]),
        (bench.control.policies.delete(PolicyKey(PROD, Layer.TENANT, "acme"), ME), []),
    ):
        await bench.holds("acme", "a/b")
        await change
        assert set(expected) <= set(await bench.holds("acme", "a/b"))
    assert await bench.holds("acme", "a/b") == (
        ("namespace", "", False, "second"),
        ("tag", "a/b", False, "tagged"),
    )


async def test_a_change_leaves_what_it_does_not_concern(bench: Bench) -> None:
    await bench.put("ns")
    kept = await bench.holds("other", "x")
    await bench.put("mine", Layer.TENANT, "acme")
    await bench.put("tagged", Layer.TAG, "y")
    assert bench.policies.policy_for(replace(event("other"), tags=("x",))) is kept


async def test_a_deleted_namespace_takes_all_with_it(bench: Bench) -> None:
    await bench.put("ns")
    await bench.put("mine", Layer.TENANT, "acme")
    assert len(await bench.holds()) == 2
    await bench.control.namespaces.delete(PROD, force=True)
    assert await bench.holds() == ()


async def test_equal_texts_are_parsed_once_and_never_on_the_loop(
    bench: Bench, parsed: list[tuple[str, threading.Thread]]
) -> None:
    for number in range(20):
        await bench.put("same", Layer.TENANT, f"t{number}")
    await asyncio.gather(*(bench.holds(f"t{number}") for number in range(20)))
    assert [document for document, _ in parsed] == [text("same")]
    assert parsed[0][1] is not threading.current_thread()
    await bench.put("same")
    assert await bench.holds("t1") == (("namespace", "", False, "same"), ("tenant", "t1", False, "same"))
    assert len(parsed) == 1


async def test_tenants_without_a_layer_of_their_own_share_what_is_joined(bench: Bench) -> None:
    await bench.put("ns")
    first = await bench.holds("t1")
    assert await bench.holds("t2", "untagged") is first
    await bench.put("newer")
    second = await bench.holds("t1")
    assert second == (("namespace", "", False, "newer"),)
    assert await bench.holds("t2") is second
    # The same text again is another version, and the same decision.
    await bench.put("newer")
    assert await bench.holds("t1") == second


async def test_who_leaves_while_it_is_parsed_fails_nobody_else(bench: Bench) -> None:
    await bench.put("ns")
    first, second = asyncio.ensure_future(bench.holds()), asyncio.ensure_future(bench.holds())
    await asyncio.sleep(0)
    first.cancel()
    assert await second == (("namespace", "", False, "ns"),)
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_policy_that_changes_while_it_is_parsed_is_not_what_holds(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.put("old")
    entered, go_on = threading.Event(), threading.Event()

    def parse(document: str) -> EgressPolicy:
        entered.set()
        assert go_on.wait(10)
        return parse_policy(document)

    monkeypatch.setattr(egress_policies, "parse_policy", parse)
    waiting = asyncio.ensure_future(bench.holds())
    await asyncio.to_thread(entered.wait, 10)
    await bench.put("new")
    go_on.set()
    assert await waiting == (("namespace", "", False, "new"),)
    assert await bench.holds() == (("namespace", "", False, "new"),)


async def test_what_an_older_release_took_and_this_one_can_not_read_denies(bench: Bench) -> None:
    key = PolicyKey(PROD)
    await bench.control.policies.put(key, PolicyDraft("version: 99\n"), ME)
    assert await bench.holds() == (("namespace", "", False, "denies"),)
    assert DENY_ALL.rules == ()


async def test_parsed_policies_are_bounded_by_their_texts_and_still_right(
    bench: Bench, parsed: list[tuple[str, threading.Thread]]
) -> None:
    bench.policies = bench.made(text_bytes=3 * len(text("t0")))
    for number in range(6):
        await bench.put(f"t{number}", Layer.TENANT, f"t{number}")
    for _ in range(2):
        for number in range(6):
            assert await bench.holds(f"t{number}") == (("tenant", f"t{number}", False, f"t{number}"),)
    assert len(bench.policies._parsed) <= 3
    assert len(parsed) == 12  # more than there is room for, in turn: each time anew
    assert len(bench.policies._joined) <= 3


async def test_layers_larger_than_the_room_are_joined_all_the_same(bench: Bench) -> None:
    bench.policies = bench.made(text_bytes=1)
    await bench.put("ns")
    await bench.put("mine", Layer.TENANT, "acme")
    assert len(await bench.holds()) == 2


async def test_storage_that_fails_is_unavailable_and_nothing_is_let_out(bench: Bench) -> None:
    await bench.put("ns")
    bench.worker.close()
    bench.policies.changed("all", "")
    with pytest.raises(OperationError) as caught:
        bench.policies._try(PROD, (PROD, TenantId("acme"), ()), {})
    assert caught.value.code is OperationErrorCode.UNAVAILABLE
