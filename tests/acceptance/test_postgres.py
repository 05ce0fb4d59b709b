"""A host whose KV and queues are in PostgreSQL: it serves while the server is away, and needs no restart after.

What was acknowledged before the server was ended in the middle is there afterwards; nothing answers for what it
could not keep.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.upstream import start_api, start_dns
from tests.acceptance.platform import Platform, wait_until
from tests.support.postgres import PASSWORD, Cluster


@pytest.fixture
def on_postgres(tmp_path: Path, own_postgres: Cluster) -> Iterator[tuple[Platform, Cluster, tuple[str, ...]]]:
    address = own_postgres.new_database()
    password = tmp_path / "password"
    password.write_text(PASSWORD + "\n")
    password.chmod(0o600)
    platform = Platform(tmp_path, start_dns(), start_api())
    settings = ("--database", str(address), "--database-password-file", str(password))
    try:
        platform.start(*settings)
        yield platform, own_postgres, settings
    finally:
        platform.stop()


def test_host_serves_without_its_database_and_loses_nothing(
    on_postgres: tuple[Platform, Cluster, tuple[str, ...]],
) -> None:
    platform, cluster, named_as = on_postgres
    platform.deploy("hello", "plain")
    platform.deploy("notes_zig", "notes", "--kv", "NOTES=notes")
    platform.deploy("queue_producer", "sender", "--queue", "QUEUE=mails")
    # Control makes the tables once the server answers, beside serving.
    wait_until(lambda: platform.request("notes.localhost", "/first", method="PUT", body=b"v").status < 300)
    held: list[str] = []
    sent = 0
    for number in range(20):
        assert platform.request("notes.localhost", f"/k{number}", method="PUT", body=b"v").status < 300
        held.append(f"k{number}")
        assert platform.request("sender.localhost", method="POST", body=b"m%d" % number).status == 202
        sent += 1
    before = platform.named()

    cluster.stop(signal.SIGQUIT)  # as in a crash
    assert platform.request("plain.localhost").status == 200
    assert platform.request("localhost", "/readyz").status == 200
    refused = platform.request("sender.localhost", method="POST", body=b"lost")
    assert refused.status >= 500, refused
    namespaces = platform.api("GET", "/client/v4/accounts/default/storage/kv/namespaces")[1]["result"]
    keys = f"/client/v4/accounts/default/storage/kv/namespaces/{namespaces[0]['id']}/keys"
    status, envelope = platform.api("GET", keys)
    assert status == 503, envelope
    assert PASSWORD not in json.dumps(envelope)

    cluster.start()
    wait_until(lambda: platform.request("sender.localhost", method="POST", body=b"back").status == 202)
    sent += 1
    for name in held:
        # Each process finds the server again by itself, within a second.
        wait_until(lambda name=name: platform.request("notes.localhost", f"/{name}").status == 200)  # type: ignore[misc]

    def control_found_it() -> bool:
        files = platform.api("GET", "/readyz")[1]["result"]["replication"]
        return platform.api("GET", keys)[0] == 200 and all(one["away_s"] is None for one in files)

    wait_until(control_found_it)
    platform.deploy("queue_consumer", "taker", "--kv", "SEEN=seen")
    platform.run("queues", "consumer", "add", "mails", "--namespace", "tests", "--script", "taker")

    def seen() -> int:
        return len(json.loads(platform.run("kv", "list", "seen", "--json")))

    wait_until(lambda: seen() >= sent + 1, 60)  # one key a message, and `latest`
    # All of it fits together, here and there.
    data = ("--data", str(platform.data), "--deep")
    assert "name it with --database" in platform.run("fsck", *data)
    assert platform.run("fsck", *data, *named_as).splitlines()[-1] == "all is well"
    assert platform.named() == before  # nothing was restarted
    assert PASSWORD not in platform.log()
    for pid in (platform.supervisor_pid, *platform.workers(), *platform.controls()):
        for name in ("cmdline", "environ"):
            assert PASSWORD.encode() not in Path(f"/proc/{pid}/{name}").read_bytes()


def test_host_starts_before_its_database_does(tmp_path: Path, own_postgres: Cluster) -> None:
    address = own_postgres.new_database()
    platform = Platform(tmp_path, start_dns(), start_api())
    os.environ["TENANTRY_DATABASE_PASSWORD"] = PASSWORD
    try:
        platform.start("--database", str(address))  # the first start founds the platform, and needs it
        platform.deploy("notes_zig", "notes", "--kv", "NOTES=notes")
        platform.stop()
        own_postgres.stop()
        platform.start("--database", str(address))
        assert platform.request("notes.localhost", "/k", method="PUT", body=b"v").status >= 500
        own_postgres.start()
        wait_until(lambda: platform.request("notes.localhost", "/k", method="PUT", body=b"v").status < 300)
        # Each process finds the server again by itself, within a second.
        wait_until(lambda: platform.request("notes.localhost", "/k").body == "v")
    finally:
        del os.environ["TENANTRY_DATABASE_PASSWORD"]
        platform.stop()
