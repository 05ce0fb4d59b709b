"""A module that is refused goes at once, unless somebody else may stand on the same bytes."""

from __future__ import annotations

import asyncio
import hashlib
import random
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from control.module_uploads import ModuleUploads
from storage.object_store import FolderObjectStore
from tests.support.waiting import until

MODULE = b"the same bytes"
DIGEST = hashlib.sha256(MODULE).hexdigest()


class Refused(Exception):
    """By the transaction, which changed nothing."""


@pytest.fixture
def objects(tmp_path: Path) -> FolderObjectStore:
    return FolderObjectStore(tmp_path / "objects")


@pytest.fixture
def uploads(objects: FolderObjectStore) -> ModuleUploads:
    return ModuleUploads(objects, objects)


@pytest.mark.parametrize(
    ("steps", "stays"),
    [
        (["begin", "refused"], False),
        (["begin", "taken"], True),
        (["begin", "begin", "refused", "refused"], False),
        (["begin", "begin", "refused", "taken"], True),  # the second stands on the first one's file
        (["begin", "begin", "taken", "refused"], True),
        (["begin", "taken", "begin", "refused"], True),  # a script refers to it since before
        (["begin", "refused", "begin", "taken"], True),  # gone meanwhile, and stored anew
        (["begin", "begin", "taken", "begin", "refused", "refused"], True),
    ],
)
def test_what_stays_of_uploads_of_the_same_bytes(
    uploads: ModuleUploads, objects: FolderObjectStore, steps: Sequence[str], stays: bool
) -> None:
    for number, step in enumerate(steps):
        if step == "begin":
            assert uploads.begin(MODULE) == DIGEST
        else:
            uploads.end(DIGEST, taken=step == "taken")
        assert objects.exists(DIGEST) or (number + 1 == len(steps) or steps[number + 1] == "begin")
    assert objects.exists(DIGEST) == stays


def test_what_was_there_before_stays(uploads: ModuleUploads, objects: FolderObjectStore) -> None:
    objects.put(MODULE)
    uploads.begin(MODULE)
    uploads.end(DIGEST, taken=False)
    assert objects.exists(DIGEST)


def test_what_other_machines_share_stays(objects: FolderObjectStore) -> None:
    uploads = ModuleUploads(objects)
    uploads.begin(MODULE)
    uploads.end(DIGEST, taken=False)
    assert objects.exists(DIGEST)


def test_no_upload_that_was_taken_loses_its_module_to_one_that_is_refused(
    uploads: ModuleUploads, objects: FolderObjectStore
) -> None:
    """The same bytes are uploaded by many at once, and one of them comes to be served."""
    lost: list[str] = []

    def upload(module: bytes, taken: bool, barrier: threading.Barrier) -> None:
        barrier.wait(60)
        digest = uploads.begin(module)
        if not objects.exists(digest):
            lost.append(digest)
        uploads.end(digest, taken=taken)

    chance = random.Random(7)
    with ThreadPoolExecutor(4) as threads:
        for number in range(60):
            module, barrier = b"%d" % number, threading.Barrier(4)
            who = chance.randrange(4)
            for each in [threads.submit(upload, module, n == who, barrier) for n in range(4)]:
                each.result(60)
            if not objects.exists(hashlib.sha256(module).hexdigest()):
                lost.append(f"after upload {number}")
    assert lost == []


async def test_who_leaves_while_it_is_stored_leaves_nothing(
    uploads: ModuleUploads, objects: FolderObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    deleted: list[str] = []
    delete = objects.delete

    def noted(digest: str) -> bool:
        deleted.append(digest)
        return delete(digest)

    monkeypatch.setattr(objects, "delete", noted)
    with uploads.storing(MODULE) as storing:
        storing.begin()
    await until(lambda: deleted == [DIGEST] and not uploads.under_way)
    assert not objects.exists(DIGEST)


@pytest.mark.parametrize(
    ("failure", "stays"),
    [
        (None, True),
        (Refused(), False),
        (asyncio.CancelledError(), True),  # cut off: it may have been done
        (OSError(), True),
    ],
)
async def test_what_stays_after_a_commit(
    uploads: ModuleUploads, objects: FolderObjectStore, failure: BaseException | None, stays: bool
) -> None:
    async def upload() -> None:
        with uploads.storing(MODULE) as storing:
            await storing.digest()
            with storing.commit(Refused):
                if failure is not None:
                    raise failure

    with suppress(Refused, asyncio.CancelledError, OSError):
        await upload()
    await until(lambda: not uploads.under_way)
    assert objects.exists(DIGEST) == stays
