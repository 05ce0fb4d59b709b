"""A whole host whose disk is full, and whose file somebody locks: it says so, loses nothing, and goes on by itself."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from demo.upstream import start_api, start_dns
from tests.acceptance.platform import Platform, wait_until

API = "/client/v4/accounts/default"
DISK_MIB = 64


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if made.returncode != 0:
        pytest.skip("this needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def put(platform: Platform, namespace: str, key: str, value: bytes) -> int:
    path = f"{API}/storage/kv/namespaces/{namespace}/values/{key}"
    return platform.api("PUT", path, value, headers={"Content-Type": "application/octet-stream"})[0]


def kv_namespace(platform: Platform) -> str:
    return str(platform.api("POST", f"{API}/storage/kv/namespaces", {"title": "notes"})[1]["result"]["id"])


def test_full_disk_is_told_and_writes_go_on_once_there_is_room(small_disk: Path) -> None:
    platform = Platform(small_disk, start_dns(), start_api())
    platform.start()
    try:
        platform.deploy("kv_counter", "counter", "--kv", "COUNTER=counts")
        assert platform.request("counter.localhost").status == 200
        namespace = kv_namespace(platform)
        kept = [f"key-{number}" for number in range(5)]
        assert [put(platform, namespace, key, b"x" * 1000) for key in kept] == [200] * 5
        ballast = small_disk / "ballast"
        with ballast.open("wb", buffering=0) as file:
            try:
                while file.write(b"\0" * (1 << 20)):
                    pass
            except OSError:
                pass
        # A log that had room inside takes some more; one of these is too much for it.
        statuses = [put(platform, namespace, f"more-{number}", b"x" * 1_000_000) for number in range(10)]
        assert 507 in statuses
        assert set(statuses) <= {200, 507}
        kept += [f"more-{number}" for number, status in enumerate(statuses) if status == 200]
        assert platform.request("localhost", "/readyz").status == 503
        assert platform.request("localhost", "/healthz").status == 200
        path = f"{API}/storage/kv/namespaces/{namespace}/values/refused"
        refused = platform.api("PUT", path, b"x" * 1_000_000)[1]
        assert refused["errors"][0]["message"] == "the storage is full"
        ballast.unlink()
        assert put(platform, namespace, "after", b"x" * 1_000_000) == 200
        wait_until(lambda: platform.request("localhost", "/readyz").status == 200)
        for key in [*kept, "after"]:
            assert platform.api("GET", f"{API}/storage/kv/namespaces/{namespace}/values/{key}")[0] == 200
        for number, status in enumerate(statuses):
            if status != 200:
                path = f"{API}/storage/kv/namespaces/{namespace}/values/more-{number}"
                assert platform.api("GET", path)[0] == 404
        assert platform.request("counter.localhost").status == 200
        assert platform.run("fsck", "--data", str(platform.data), "--deep").splitlines()[-1] == "all is well"
    finally:
        assert platform.stop() == 0


def test_file_that_somebody_locks_is_busy_and_writes_go_on_afterwards(own_platform: Platform) -> None:
    platform = own_platform
    namespace = kv_namespace(platform)
    assert put(platform, namespace, "before", b"x") == 200
    other = apsw.Connection(str(platform.data / "kv.db"))
    try:
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        assert put(platform, namespace, "refused", b"x") == 503
        assert time.monotonic() - began < 30
        assert platform.api("GET", f"{API}/storage/kv/namespaces/{namespace}/values/before")[0] == 200
        other.execute("ROLLBACK")
    finally:
        other.close()
    assert put(platform, namespace, "after", b"x") == 200
    assert platform.api("GET", f"{API}/storage/kv/namespaces/{namespace}/values/refused")[0] == 404
