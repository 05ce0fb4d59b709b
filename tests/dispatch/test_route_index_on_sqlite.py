"""The index over the real control database: what control acknowledged, the next request of another process
sees, and a commit whose number was lost is found in the log.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from dispatch.route_index import RouteIndex
from dispatch.routing import Routed
from model.identity import NamespaceName, ScriptName, TenantId
from model.scripts import Route, ScriptRef, Target
from storage.changes import ChangeSequence
from storage.control_store import ControlStore
from storage.script_records import Deployment

NAMESPACE = NamespaceName("production")


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[ControlStore]:
    sequence = ChangeSequence(tmp_path / "changes.seq")
    store = ControlStore.open(tmp_path / "control.db", sequence)
    await store.namespaces.create(NAMESPACE, trusted=False)
    yield store
    store.close()
    sequence.close()


@pytest.fixture
def index(control: ControlStore, tmp_path: Path) -> Iterator[RouteIndex]:
    """As a worker process has it: a reader of its own, and a mapping of its own."""
    sequence = ChangeSequence(tmp_path / "changes.seq")
    store = ControlStore.open(tmp_path / "control.db", sequence, read_only=True)
    yield RouteIndex(store)
    store.close()
    sequence.close()


async def deploy(control: ControlStore, name: str) -> ScriptRef:
    ref = ScriptRef(NAMESPACE, ScriptName(name))
    await control.scripts.deploy(
        Deployment(ref, TenantId(name)), "0" * 64, frozenset({"fetch"}), lambda *_: b""
    )
    return ref


def answer(index: RouteIndex, hostname: str) -> str | None:
    found = index.match(hostname, "/", ())
    return str(found.target.script) if isinstance(found, Routed) else None


async def test_routes_and_scripts_are_seen_at_once_and_gone_at_once(
    control: ControlStore, index: RouteIndex
) -> None:
    assert answer(index, "a.example") is None
    acme = await deploy(control, "acme")
    route = (await control.routes.create(Route("", "*.example", "", (), Target(script=acme)))).route
    assert answer(index, "a.example") == "production/acme"
    first = index.script(acme)
    assert first is not None
    await deploy(control, "acme")
    second = index.script(acme)
    assert second is not None
    assert second.version != first.version
    await control.routes.delete(route.id)
    assert answer(index, "a.example") is None
    await control.scripts.delete(acme, force=True)
    assert index.script(acme) is None


async def test_trust_of_a_namespace_reaches_its_scripts(control: ControlStore, index: RouteIndex) -> None:
    acme, other = await deploy(control, "acme"), await deploy(control, "other")
    # The second is read while it is remembered what the namespace says; the third after it has changed its word.
    assert [trusted(index, ref) for ref in (acme, other)] == [False, False]
    await control.namespaces.change(NAMESPACE, True, lambda before: before)
    third = await deploy(control, "third")
    assert [trusted(index, ref) for ref in (acme, other, third)] == [True, True, True]
    await control.namespaces.change(NAMESPACE, False, lambda before: before)
    assert [trusted(index, ref) for ref in (acme, other, third)] == [False, False, False]


def trusted(index: RouteIndex, ref: ScriptRef) -> bool:
    version = index.script(ref)
    assert version is not None
    return version.trusted


async def test_a_namespace_that_is_not_known_yet_is_asked_again_once_it_is(
    control: ControlStore, index: RouteIndex
) -> None:
    later = ScriptRef(NamespaceName("later"), ScriptName("acme"))
    assert index.script(later) is None
    await control.namespaces.create(NamespaceName("later"), trusted=True)
    await control.scripts.deploy(
        Deployment(later, TenantId("acme")), "0" * 64, frozenset({"fetch"}), lambda *_: b""
    )
    assert trusted(index, later)


async def test_a_commit_whose_number_was_lost_is_found_once_a_second(
    control: ControlStore, index: RouteIndex, tmp_path: Path
) -> None:
    acme, other = await deploy(control, "acme"), await deploy(control, "other")
    route = (await control.routes.create(Route("", "a.example", "", (), Target(script=acme)))).route
    assert answer(index, "a.example") == "production/acme"
    before = control.sequence()
    await control.routes.replace(Route(route.id, "a.example", "", (), Target(script=other)))
    # What a kill between the commit and the store of the number leaves behind.
    sequence = ChangeSequence(tmp_path / "changes.seq")
    sequence.store(before)
    sequence.close()
    assert answer(index, "a.example") == "production/acme"
    index.check_log()
    assert answer(index, "a.example") == "production/other"
