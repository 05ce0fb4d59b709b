"""The data folder of a host that serves: checked, backed up, lost and restored; a tenant deleted; the key rotated."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.acceptance.platform import SAMPLES, Platform, wait_until


def test_a_lost_data_folder_comes_back_from_a_backup_of_a_host_in_use(
    own_platform: Platform, tmp_path: Path
) -> None:
    platform = own_platform
    platform.deploy("kv_counter", "counter", "--tenant", "acme", "--kv", "COUNTER=counts")
    platform.deploy("guest_book", "book", "--tenant", "acme", "--d1", "DB=guests")
    assert platform.request("book.localhost", "/?name=Ada", method="POST", body=b"Hello").status == 201
    before = platform.request("counter.localhost").body
    token = platform.token
    data = ("--data", str(platform.data))
    assert platform.run("fsck", *data, "--deep").splitlines()[-1] == "all is well"
    backup = tmp_path / "backup.tar.gz"
    told = json.loads(platform.run("backup", str(backup), *data, "--json"))
    assert told["lacks"] == []
    # What comes after it is lost with the folder.
    assert platform.request("counter.localhost").body != before
    assert platform.stop() == 0
    (tmp_path / "root-key").write_bytes((platform.data / "root-key").read_bytes())
    shutil.rmtree(platform.data)

    refused = platform.run("restore", str(backup), *data, expect=1)
    assert "the root key" in refused
    platform.data.mkdir()
    shutil.copy(tmp_path / "root-key", platform.data / "root-key")
    (platform.data / "root-key").chmod(0o600)
    platform.run("restore", str(backup), *data)
    assert "is not empty" in platform.run("restore", str(backup), *data, expect=1)
    assert platform.run("migrate", *data, "--dry-run") == "the schema is that of this release\n"
    assert platform.run("fsck", *data, "--deep").splitlines()[-1] == "all is well"
    platform.start()
    assert platform.request("book.localhost").body == "1 Ada: Hello\n"
    after = platform.request("counter.localhost").body
    assert after != before
    assert platform.token != token
    assert platform.api("GET", "/client/v4/accounts", headers={"Authorization": f"Bearer {token}"})[0] == 401


def test_a_deleted_tenant_is_gone_from_visitors_and_from_the_disk(own_platform: Platform) -> None:
    platform = own_platform
    platform.deploy("kv_counter", "counter", "--tenant", "acme", "--kv", "COUNTER=counts")
    platform.deploy("guest_book", "book", "--tenant", "acme", "--d1", "DB=guests")
    platform.deploy("hello", "other", "--tenant", "rival")
    assert platform.request("counter.localhost").status == 200
    shown = json.loads(platform.run("tenants", "show", "tests", "acme", "--json"))
    assert shown["usage"]["scripts"] == 2
    platform.run("tenants", "quota", "tests", "acme", "kv_namespaces=1")
    wasm = str(SAMPLES / "kv_counter" / "kv_counter.wasm")
    more = ("--name", "more", "--namespace", "tests", "--tenant", "acme", "--kv", "COUNTER=more")
    refused = platform.run("deploy", wasm, *more, expect=1)
    assert "kv_namespaces: tenant 'acme' of namespace 'tests' has 1 of 1 (set for this tenant)" in refused
    said = platform.run("tenants", "delete", "tests", "acme", "--yes")
    assert "deleted tenant acme of namespace tests: 2 scripts, 2 routes" in said
    assert platform.request("counter.localhost").status == 404
    assert platform.request("book.localhost").status == 404
    assert platform.request("other.localhost").status == 200
    assert list((platform.data / "d1").glob("*.sqlite")) == []
    data = ("--data", str(platform.data))
    assert platform.run("fsck", *data, "--deep").splitlines()[-1] == "all is well"
    assert platform.run("tenants", "list", "tests").splitlines()[1].split()[0] == "rival"


def test_the_root_key_is_rotated_while_workers_use_their_secrets(own_platform: Platform) -> None:
    platform = own_platform
    hidden = "hidden-value-9177"
    for number in range(2):
        platform.deploy("gatekeeper", f"gate-{number}", "--secret", "API_KEY", stdin=hidden)

    def admitted(number: int) -> bool:
        status = platform.request(f"gate-{number}.localhost", headers={"x-key": hidden}).status
        assert status in (200, 401), status
        return status == 200

    # One is opened before in some process, the other is not.
    assert admitted(0)
    key = (platform.data / "root-key").read_bytes()
    said = platform.run("secrets", "rotate")
    assert said.startswith("2 secrets and materials were under root key ")
    assert (platform.data / "root-key").read_bytes() != key
    assert admitted(0)
    assert admitted(1)
    data = ("--data", str(platform.data))
    assert "does not open" not in platform.run("fsck", *data)
    assert platform.stop() == 0
    platform.start()
    assert admitted(0)
    assert admitted(1)
    assert "does not open" not in platform.run("fsck", *data)
    assert hidden not in platform.log()


def test_a_key_outside_the_data_folder_is_rotated_by_who_may_write_there(
    own_platform: Platform, tmp_path: Path
) -> None:
    platform = own_platform
    hidden = "hidden-value-4411"
    platform.deploy("gatekeeper", "gate", "--secret", "API_KEY", stdin=hidden)
    assert platform.stop() == 0
    outside = tmp_path / "keys"
    outside.mkdir(mode=0o700)
    key, following = outside / "key", outside / "key.next"
    shutil.move(platform.data / "root-key", key)
    following.write_bytes(bytes(range(32)))
    following.chmod(0o600)
    platform.start("--root-key-file", str(key))
    wait_until(lambda: f"move {following} to {key}" in platform.log())
    assert platform.request("gate.localhost", headers={"x-key": hidden}).status == 200
    following.replace(key)
    wait_until(lambda: "nothing is sealed under root key" in platform.log())
    assert platform.stop() == 0
    platform.start("--root-key-file", str(key))
    assert platform.request("gate.localhost", headers={"x-key": hidden}).status == 200
    told = platform.run("fsck", "--data", str(platform.data), "--root-key-file", str(key))
    assert "does not open" not in told
