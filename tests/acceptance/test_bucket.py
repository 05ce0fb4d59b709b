"""A host that keeps its modules in a bucket: another machine's folder may be empty, and the bucket may go and come."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from demo.upstream import start_api, start_dns
from storage.object_bucket import BucketObjects, BucketPlace
from tests.acceptance.platform import SAMPLES, Platform, wait_until
from tests.support.s3 import S3Server

API = "/client/v4/accounts/default"


@dataclass
class BucketHost:
    host: Platform
    server: S3Server
    place: BucketPlace
    arguments: tuple[str, ...]

    @property
    def objects(self) -> BucketObjects:
        return BucketObjects(self.place, self.server.key)

    def forget(self) -> None:
        """What the folder has of modules and images, as on a machine that is new."""
        for name in ("objects", "aot"):
            shutil.rmtree(self.host.data / name)


def arguments_for(folder: Path, place: BucketPlace, key: str) -> tuple[str, ...]:
    path = folder / "objects-key"
    path.touch(mode=0o600)
    path.write_text(key)
    url = f"s3://{place.bucket}/{place.prefix}"
    return ("--objects", url, "--objects-endpoint", place.endpoint, "--objects-key-file", str(path))


@pytest.fixture
def bucket_host(tmp_path: Path, own_s3: S3Server) -> Iterator[BucketHost]:
    place = own_s3.place("production")
    arguments = arguments_for(tmp_path, place, f"{own_s3.key.id}\n{own_s3.key.secret}\n")
    host = Platform(tmp_path, start_dns(), start_api())
    try:
        yield BucketHost(host, own_s3, place, arguments)
    finally:
        host.stop()


def tenantry(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )


def status(host: Platform, name: str) -> int:
    return host.request(f"{name}.localhost").status


def test_modules_are_in_the_bucket_and_come_back_from_it(bucket_host: BucketHost) -> None:
    host, arguments = bucket_host.host, bucket_host.arguments
    host.start()
    host.deploy("hello", "before")
    host.stop()
    # What was in the folder is given to the bucket.
    host.start(*arguments)
    wait_until(lambda: len(list(bucket_host.objects.digests())) == 1, 60)
    host.deploy("echo", "during")
    digests = set(bucket_host.objects.digests())
    assert digests == {path.name for path in (host.data / "objects").glob("??/*")}
    assert len(digests) == 2
    host.stop()

    bucket_host.forget()
    host.start(*arguments)
    wait_until(lambda: status(host, "before") == 200, 60)
    doctor = tenantry("doctor", "--json", "--url", host.url, "--data", str(host.data), *arguments)
    checks = {check["name"]: check for check in json.loads(doctor.stdout)}
    assert checks["objects"]["state"] == "ok", checks["objects"]
    # A backup has what the folder lacks.
    lacking = tenantry("backup", str(host.data.parent / "lacking"), "--data", str(host.data))
    assert lacking.returncode == 1
    whole = tenantry("backup", str(host.data.parent / "whole"), "--data", str(host.data), *arguments)
    assert whole.returncode == 0, whole.stderr

    for more in ((), ("--deep",)):
        fsck = tenantry("fsck", *more, "--data", str(host.data), *arguments)
        assert fsck.returncode == 0, fsck.stdout + fsck.stderr

    # The key is in no process's arguments or environment, and in no line of the log.
    secret = bucket_host.server.key.secret
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
            if b"cli." not in words or str(host.data).encode() not in words:
                continue
            assert secret.encode() not in words + Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            continue
    host.stop()
    assert secret not in host.log()
    for path in host.data.rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes(), path


def test_while_the_bucket_is_away_what_is_deployed_is_served_and_deploys_are_refused(
    bucket_host: BucketHost,
) -> None:
    host, server = bucket_host.host, bucket_host.server
    host.start(*bucket_host.arguments)
    host.deploy("hello", "greeter")
    server.stop()
    assert status(host, "greeter") == 200
    module = str(SAMPLES / "echo" / "echo.wasm")
    refused = host.run("deploy", module, "--name", "late", "--namespace", "tests", expect=1)
    assert "can't be reached" in refused
    assert server.key.secret not in refused
    doctor = tenantry("doctor", "--url", host.url, "--data", str(host.data), *bucket_host.arguments)
    assert doctor.returncode == 1
    assert "can't be reached" in doctor.stdout
    server.start()
    host.deploy("echo", "late")
    assert len(list(bucket_host.objects.digests())) == 2


@pytest.mark.parametrize(
    ("key", "mode", "says"),
    [
        ("id\nsecret\n", 0o644, "others may read"),
        ("only-one-word-of-a-secret", 0o600, "one line each"),
        (None, 0o600, "No such file"),
    ],
)
def test_key_file_that_is_not_right_ends_the_start_with_what_would_be(
    bucket_host: BucketHost, key: str | None, mode: int, says: str
) -> None:
    path = Path(bucket_host.arguments[-1])
    path.unlink()
    if key is not None:
        path.write_text(key)
        path.chmod(mode)
    done = tenantry("serve", "--data", str(bucket_host.host.data), *bucket_host.arguments)
    assert done.returncode != 0
    assert says in done.stderr
    assert "secret" not in done.stderr.replace("its secret", "")
