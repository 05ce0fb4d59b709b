"""Two hosts with data folders of their own and one PostgreSQL are one platform: what is deployed on one is served by
the other, and each goes on serving alone while the database is away.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from demo.host import DemoFailed
from demo.upstream import start_api, start_dns
from storage.d1 import files
from storage.postgres.address import DatabaseAddress
from tests.acceptance.platform import SAMPLES, Platform, wait_until
from tests.support.javascript_engine import built_engine
from tests.support.postgres import PASSWORD
from tests.support.postgres_proxy import PostgresProxy

API = "/client/v4/accounts/default"


def settings_for(folder: Path, address: DatabaseAddress) -> tuple[str, ...]:
    password = folder / "password"
    password.write_text(PASSWORD + "\n")
    password.chmod(0o600)
    return ("--database", str(address), "--database-password-file", str(password))


def new_machine(folder: Path, like: Platform | None = None) -> Platform:
    """A machine that was not started; with the root key of another, as its operator copies it."""
    folder.mkdir()
    machine = Platform(folder, start_dns(), start_api())
    if like is not None:
        machine.data.mkdir(mode=0o700)
        shutil.copy(like.data / "root-key", machine.data / "root-key")
    return machine


@dataclass
class Pair:
    a: Platform
    b: Platform
    #: Between a and the database.
    proxy: PostgresProxy
    of_a: tuple[str, ...]
    of_b: tuple[str, ...]


@pytest.fixture
def pair(tmp_path: Path, database_address: DatabaseAddress) -> Iterator[Pair]:
    proxy = PostgresProxy(database_address)
    a = new_machine(tmp_path / "a")
    made = [a]
    try:
        of_a = settings_for(tmp_path / "a", proxy.address)
        a.start(*of_a)
        b = new_machine(tmp_path / "b", a)
        made.append(b)
        of_b = settings_for(tmp_path / "b", database_address)
        b.start(*of_b)
        yield Pair(a, b, proxy, of_a, of_b)
    finally:
        proxy.come_back()
        for machine in made:
            machine.stop()
        proxy.close()


def status(machine: Platform, name: str) -> int:
    return machine.request(f"{name}.localhost").status


def replication(machine: Platform) -> dict[str, Any]:
    """What /readyz says of control.db."""
    code, envelope = machine.api("GET", "/readyz")
    assert code == 200, envelope
    return next(one for one in envelope["result"]["replication"] if one["file"] == "control")


def within(holds: Callable[[], bool], what: str, limit_s: float = 1.0) -> None:
    """As wait_until, and in time: with what a busy test machine adds (a machine that hears of a deploy compiles it)."""
    began = time.monotonic()
    wait_until(holds, 100)
    assert time.monotonic() - began < limit_s + 45.0, what


def test_what_one_machine_is_told_the_other_does(pair: Pair) -> None:
    a, b = pair.a, pair.b
    a.deploy("hello", "greeter")
    assert status(a, "greeter") == 200
    within(lambda: status(b, "greeter") == 200, "a deploy")
    # B fetched the module and compiled it itself.
    digests = [path.name for path in (b.data / "objects").glob("??/*")]
    assert digests == [path.name for path in (a.data / "objects").glob("??/*")]

    # B's API knows the same, takes A's token, and writes for both.
    token = {"Authorization": f"Bearer {a.token}"}
    code, envelope = b.api("GET", f"{API}/workers/dispatch/namespaces/tests/scripts/greeter", headers=token)
    assert code == 200, envelope
    b.deploy("hello", "second")
    within(lambda: status(a, "second") == 200, "a deploy on the machine that joined")

    # A route that is deleted is gone on both.
    routes = a.api("GET", f"{API}/workers/dispatch/routes")[1]["result"]
    route = next(route for route in routes if route["hostname"] == "greeter.localhost")
    code, envelope = b.api("DELETE", f"{API}/workers/dispatch/routes/{route['id']}")
    assert code == 200, envelope
    assert status(b, "greeter") == 404
    within(lambda: status(a, "greeter") == 404, "a deleted route")
    assert replication(a)["stopped"] == replication(b)["stopped"] == ""


def test_javascript_is_loaded_by_each_machine_from_the_modules_that_it_fetches(
    pair: Pair, tmp_path: Path
) -> None:
    built_engine()
    a, b = pair.a, pair.b
    source = tmp_path / "counter.js"
    source.write_text("let n = 0; export default { fetch() { return new Response(String(++n)); } };")
    where = ("--name", "counter", "--namespace", "tests", "--hostname", "counter.localhost")
    a.run("deploy", str(source), *where, "--warm-up", "/")
    assert a.request("counter.localhost").body == "2"

    def answer_of_b() -> tuple[int, str]:
        answer = b.request("counter.localhost")
        return answer.status, answer.body

    # Each process of it takes up the deploy by itself.
    wait_until(lambda: [answer_of_b() for _ in range(4)] == [(200, "2")] * 4)
    deltas = [[path.name for path in (machine.data / "aot").glob("*.delta")] for machine in (a, b)]
    assert len(deltas[0]) == 1
    assert deltas[0] == deltas[1]


def test_a_secret_is_opened_on_every_machine(pair: Pair) -> None:
    a, b = pair.a, pair.b
    wasm = str(SAMPLES / "gatekeeper" / "gatekeeper.wasm")
    deploy = ("deploy", wasm, "--name", "vault", "--namespace", "tests", "--hostname", "vault.localhost")
    a.run(*deploy, "--secret", "API_KEY", stdin="first")

    def opens(machine: Platform, key: str) -> bool:
        return machine.request("vault.localhost", headers={"X-Key": key}).status == 200

    assert opens(a, "first")
    within(lambda: opens(b, "first"), "a secret")
    b.run("secrets", "put", "tests", "vault", "API_KEY", stdin="second")
    within(lambda: opens(a, "second") and not opens(a, "first"), "a changed secret")


def test_a_machine_that_lost_the_database_serves_refuses_changes_and_catches_up(pair: Pair) -> None:
    a, b = pair.a, pair.b
    a.deploy("hello", "greeter")
    within(lambda: status(b, "greeter") == 200, "a deploy")
    before = a.named()

    pair.proxy.go_away()
    code, envelope = a.api("POST", f"{API}/workers/dispatch/namespaces", {"name": "nobody"})
    assert code == 503, envelope
    assert envelope["errors"][0]["code"] == 20034
    assert "goes on being served" in envelope["errors"][0]["message"]
    assert status(a, "greeter") == status(b, "greeter") == 200
    assert a.request("localhost", "/readyz").status == 200
    wait_until(lambda: replication(a)["away_s"] is not None)
    wait_until(lambda: a.metrics()['tenantry_replication_lag{kind="control"}'] > 0)
    assert a.metrics()['tenantry_replication_conflicts_total{kind="control"}'] == 0
    report = a.run("doctor", "--data", str(a.data), "--json", expect=0)
    checks = {check["name"]: check for check in json.loads(report)}
    assert checks["replication of control"]["state"] == "warning"
    assert "away" in checks["replication of control"]["detail"]

    b.deploy("hello", "meanwhile")
    assert status(a, "meanwhile") == 404
    pair.proxy.come_back()
    within(lambda: status(a, "meanwhile") == 200, "what was deployed meanwhile", 5.0)
    a.deploy("hello", "again")
    within(lambda: status(b, "again") == 200, "a deploy after it")
    assert a.named() == before  # nothing was restarted


def test_a_machine_starts_and_serves_while_the_database_is_away(pair: Pair) -> None:
    a, b = pair.a, pair.b
    a.deploy("hello", "greeter")
    a.stop()
    pair.proxy.go_away()
    a.start(*pair.of_a)
    assert status(a, "greeter") == 200
    b.deploy("hello", "meanwhile")
    pair.proxy.come_back()
    within(lambda: status(a, "meanwhile") == 200, "what was deployed meanwhile", 5.0)


def test_tokens_are_the_platforms(pair: Pair) -> None:
    a, b = pair.a, pair.b
    os.environ["TENANTRY_DATABASE_PASSWORD"] = PASSWORD
    try:
        database = pair.of_b[1]
        token = b.run("token", "create", "--local", "--name", "ci", "--database", database).strip()
        refused = b.run("token", "create", "--local", expect=1)
    finally:
        del os.environ["TENANTRY_DATABASE_PASSWORD"]
    assert "--database" in refused
    given = {"Authorization": f"Bearer {token}"}
    within(lambda: a.api("GET", f"{API}/workers/dispatch/namespaces", headers=given)[0] == 200, "a token")


def test_a_machine_with_another_root_key_is_told_so(pair: Pair, tmp_path: Path) -> None:
    stranger = new_machine(tmp_path / "c")
    with pytest.raises(DemoFailed, match="root key is not the platform's"):
        stranger.start(*pair.of_b)


def deploy_vault(machine: Platform, name: str) -> None:
    wasm = str(SAMPLES / "gatekeeper" / "gatekeeper.wasm")
    deploy = ("deploy", wasm, "--name", name, "--namespace", "tests", "--hostname", f"{name}.localhost")
    machine.run(*deploy, "--secret", "API_KEY", stdin="secret")


def opened(machine: Platform, name: str) -> bool:
    """Whether the worker of that name reads its secret there, in whichever process answers."""
    statuses = {machine.request(f"{name}.localhost", headers={"X-Key": "secret"}).status for _ in range(6)}
    return statuses == {200}


def machines(machine: Platform) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(machine.run("machines", "--json"))
    return found


@pytest.mark.timeout(600)  # it waits for what is on its way, and starts machines anew
def test_the_root_key_is_rotated_while_both_machines_serve(pair: Pair) -> None:
    a, b = pair.a, pair.b
    old = (a.data / "root-key").read_bytes()
    deploy_vault(a, "reader")
    within(lambda: opened(b, "reader"), "a secret")
    wait_until(lambda: len([m for m in machines(a) if len(m["files"]) == 2]) == 2, 60)
    started = [(machine.supervisor_pid, machine.controls()) for machine in (a, b)]

    rotation = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "secrets", "rotate", "--json"],
        env=os.environ | {"TENANTRY_URL": a.url, "TENANTRY_DATA": str(a.data)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        path = f"{API}/root-key/rotation"
        wait_until(lambda: a.api("GET", path)[1]["result"]["waiting_for"] != [])
        # The operator copies the file; nobody is started anew.
        shutil.copy(a.data / "root-key.next", b.data / "root-key.next")
        while rotation.poll() is None:
            assert opened(a, "reader")
            assert opened(b, "reader")
        out, err = rotation.communicate(timeout=60)
    finally:
        rotation.kill()
        rotation.wait()
    assert rotation.returncode == 0, err
    assert f"copy {a.data / 'root-key.next'}" in err
    state = json.loads(out)
    wait_until(lambda: not b.api("GET", path)[1]["result"]["rotating"], 60)
    assert (a.data / "root-key").read_bytes() == (b.data / "root-key").read_bytes() != old
    assert [(machine.supervisor_pid, machine.controls()) for machine in (a, b)] == started

    # Both seal and open under it, and the platform's list says so.
    wait_until(lambda: {m["root_key_ids"][0] for m in machines(b)} == {state["key_id"]}, 60)
    assert all(len(m["root_key_ids"]) == 1 for m in machines(b))
    deploy_vault(b, "later")
    within(lambda: opened(a, "later"), "a secret that was set on the other machine")
    assert opened(a, "reader")
    assert opened(b, "reader")

    # A machine that was away is refused until it holds the key that the others have.
    b.stop()
    (b.data / "root-key").write_bytes(old)
    with pytest.raises(DemoFailed, match=r"root-key\.next"):
        b.start(*pair.of_b)
    shutil.copy(a.data / "root-key", b.data / "root-key.next")
    b.start(*pair.of_b)
    wait_until(lambda: not b.api("GET", path)[1]["result"]["rotating"], 60)
    assert (b.data / "root-key").read_bytes() == (a.data / "root-key").read_bytes()
    assert opened(b, "reader")


def test_machines_are_listed_with_what_each_lacks(pair: Pair) -> None:
    a, b = pair.a, pair.b
    wait_until(lambda: len([m for m in machines(a) if len(m["files"]) == 2]) == 2, 60)
    listed = a.run("machines")
    assert all((each.data / "machine-id").read_text().strip() in listed for each in (a, b))
    for row in machines(b):
        assert row["seen_s_ago"] < 60
        assert {file["file"] for file in row["files"]} == {"control", "tokens"}
        assert all(file["lag"] == file["log_seq"] - file["seq"] for file in row["files"])


def test_a_backup_of_any_machine_has_databases_as_they_are(pair: Pair, tmp_path: Path) -> None:
    """B has never used it, and backs up what A wrote."""
    a, b = pair.a, pair.b
    a.deploy("guest_book", "book", "--tenant", "acme", "--d1", "DB=guests")
    assert a.request("book.localhost", "/?name=Ada", method="POST", body=b"Hello").status == 201
    token = {"Authorization": f"Bearer {a.token}"}
    script = f"{API}/workers/dispatch/namespaces/tests/scripts/book"
    within(lambda: b.api("GET", script, headers=token)[0] == 200, "a deploy")

    without = b.run("backup", str(tmp_path / "old"), "--data", str(b.data), expect=1)
    assert "may be old: name --database" in without
    made = b.run("backup", str(tmp_path / "new"), "--data", str(b.data), *pair.of_b)
    assert "pg_dump" in made
    assert "may be old" not in made
    with tarfile.open(tmp_path / "new") as packed:
        (name,) = (name for name in packed.getnames() if name.startswith("d1/"))
        content = packed.extractfile(name)
        assert content is not None
        (tmp_path / "copy").write_bytes(content.read())
    with files.opened(tmp_path / "copy") as copy:
        (table,) = (
            str(row[0])
            for row in copy.execute(
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
            )
        )
        assert "Ada" in str(copy.execute(f'SELECT * FROM "{table}"').fetchall())  # noqa: S608 - its own name
