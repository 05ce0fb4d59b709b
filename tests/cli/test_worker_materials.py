"""Rule held: a worker process opens a material with the key of that version alone, keeps it for a while, and
never one that was changed or deleted.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cli.worker_materials import WorkerMaterials
from control.secret_sealing import RootKeySealer
from dispatch.route_index import RouteIndex
from model.errors import OperationError, OperationErrorCode
from model.identity import NamespaceName
from outbound.rule_actions import ClientCertificate, MaterialMissing
from storage.changes import ChangeSequence
from storage.control_store import ControlStore
from storage.egress_records import Author, MaterialKind
from storage.keys import RootKey

PROD = NamespaceName("prod")
ME = Author("1", "ops")


class Bench:
    def __init__(self, folder: Path) -> None:
        self.sealer = RootKeySealer(RootKey(b"k" * 32))
        self.sequences = [ChangeSequence(folder / "changes.seq") for _ in range(2)]
        self.control = ControlStore.open(folder / "control.db", self.sequences[0])
        self.worker = ControlStore.open(folder / "control.db", self.sequences[1], read_only=True)
        self.index = RouteIndex(self.worker)
        self.asked: list[tuple[NamespaceName | None, str, int]] = []
        self.asks = asyncio.Event()
        self.failure: OperationError | None = None
        self.materials = self.made()

    def made(self, cached_bytes: int = 1 << 20) -> WorkerMaterials:
        materials = WorkerMaterials(self.worker.materials, self.key_for, self.index.refresh, cached_bytes)
        self.index.on_change(materials.changed)
        return materials

    async def key_for(self, namespace: NamespaceName | None, name: str, version: int) -> bytes:
        self.asked.append((namespace, name, version))
        self.asks.set()
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        stored = await self.worker.materials.sealed(namespace, name)
        return self.sealer.material_key_for(
            namespace, name, version, b"" if stored is None else stored.sealed
        )

    async def put(
        self, name: str, namespace: NamespaceName | None = PROD, kind: str = "secret", **values: str
    ) -> int:
        plain = json.dumps(values).encode()
        made = await self.control.materials.put(
            namespace,
            name,
            MaterialKind(kind),
            lambda version: self.sealer.seal_material(namespace, name, version, plain),
            {},
            ME,
        )
        return made.version

    def close(self) -> None:
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


async def test_each_kind_opens_as_what_it_is(bench: Bench) -> None:
    await bench.put("token", value="v")
    await bench.put("roots", kind="ca_bundle", pem="PEM")
    await bench.put("mtls", kind="client_certificate", certificate_pem="C", key_pem="K")
    assert await bench.materials.secret(PROD, "token") == "v"
    assert await bench.materials.ca_bundle(PROD, "roots") == b"PEM"
    assert await bench.materials.client_certificate(PROD, "mtls") == ClientCertificate(b"C", b"K")


async def test_control_is_asked_for_a_key_once_however_many_want_it(bench: Bench) -> None:
    version = await bench.put("token", value="v")
    found = await asyncio.gather(*(bench.materials.secret(PROD, "token") for _ in range(50)))
    assert set(found) == {"v"}
    assert await bench.materials.secret(PROD, "token") == "v"
    assert bench.asked == [(PROD, "token", version)]


async def test_a_changed_or_deleted_material_is_not_used_again(bench: Bench) -> None:
    await bench.put("token", value="old")
    await bench.put("kept", value="kept")
    assert await bench.materials.secret(PROD, "token") == "old"
    assert await bench.materials.secret(PROD, "kept") == "kept"
    await bench.put("token", value="new")
    assert await bench.materials.secret(PROD, "token") == "new"
    await bench.control.materials.delete(PROD, "token", force=False)
    with pytest.raises(MaterialMissing, match="token"):
        await bench.materials.secret(PROD, "token")
    asked = len(bench.asked)
    assert await bench.materials.secret(PROD, "kept") == "kept"
    assert len(bench.asked) == asked


async def test_one_that_changes_while_it_is_opened_is_not_kept(bench: Bench) -> None:
    await bench.put("token", value="old")
    waiting = asyncio.ensure_future(bench.materials.secret(PROD, "token"))
    await bench.asks.wait()
    await bench.put("token", value="new")
    assert await bench.materials.secret(PROD, "token") == "new"
    await waiting
    assert await bench.materials.secret(PROD, "token") == "new"


async def test_a_namespace_that_is_deleted_takes_its_materials_with_it(bench: Bench) -> None:
    await bench.put("token", value="prod's")
    await bench.put("token", None, value="plain")
    assert await bench.materials.secret(PROD, "token") == "prod's"
    assert await bench.materials.secret(None, "token") == "plain"
    await bench.control.namespaces.delete(PROD, force=True)
    with pytest.raises(MaterialMissing):
        await bench.materials.secret(PROD, "token")
    assert await bench.materials.secret(None, "token") == "plain"


async def test_a_name_of_another_kind_or_place_is_missing(bench: Bench) -> None:
    await bench.put("roots", kind="ca_bundle", pem="PEM")
    with pytest.raises(MaterialMissing, match="secret 'roots'"):
        await bench.materials.secret(PROD, "roots")
    with pytest.raises(MaterialMissing):
        await bench.materials.ca_bundle(None, "roots")
    assert await bench.materials.ca_bundle(PROD, "roots") == b"PEM"


async def test_without_its_key_it_is_unavailable_and_tried_again(bench: Bench) -> None:
    await bench.put("token", value="v")
    bench.failure = OperationError(OperationErrorCode.UNAVAILABLE, "control is away")
    with pytest.raises(OperationError) as caught:
        await bench.materials.secret(PROD, "token")
    assert caught.value.code is OperationErrorCode.UNAVAILABLE
    bench.failure = None
    assert await bench.materials.secret(PROD, "token") == "v"


async def test_a_row_that_was_put_under_another_name_does_not_open(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    await bench.put("mine", value="v")

    def moved(tx: object) -> None:
        tx.execute("UPDATE egress_materials SET name = 'yours'")  # type: ignore[attr-defined]

    await bench.control.database.write(moved)
    with pytest.raises(OperationError) as caught:
        await bench.materials.secret(PROD, "yours")
    assert caught.value.code is OperationErrorCode.UNAVAILABLE
    assert "does not open" in caplog.text
    assert "v" not in caught.value.message.split()


async def test_opened_ones_are_bounded(bench: Bench) -> None:
    bench.materials = bench.made(cached_bytes=3_000)
    for number in range(6):
        await bench.put(f"s{number}", value=str(number) * 1_000)
    for number in range(6):
        assert await bench.materials.secret(PROD, f"s{number}") == str(number) * 1_000
    assert bench.materials._bytes <= 3_000
    assert len(bench.materials._opened) == 2
