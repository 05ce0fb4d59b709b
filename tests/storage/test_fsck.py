"""Each thing that can be lost or not fit together is found, and nothing is found where nothing is wrong."""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import apsw
import pytest

from cli.commands.fsck import _Opens
from model.clock import unix_s
from storage.cache_store import CachePlace, cache_migrations
from storage.d1 import files
from storage.database import Database
from storage.fsck import check_files, check_state
from storage.fsck_findings import Finding, Repair, Severity
from storage.fsck_modules import check_bucket
from storage.fsck_repair import FileContents, Repairs
from storage.object_store import ObjectMissing
from tests.control.support import ACCOUNT, KV, NAMESPACES, QUEUES, ROUTES, Host, ok

OWNER = {"tenant": "acme", "namespace": "prod"}


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    """A tenant with one of everything."""
    built = Host(tmp_path)
    await built.namespace()
    kv = ok(await built.api.post(KV, json={"title": "kv", **OWNER}))["id"]
    ok(await built.api.put(f"{KV}/{kv}/values/key", content=b"value"))
    queue = ok(await built.api.post(QUEUES, json={"queue_name": "queue", **OWNER}))["queue_id"]
    ok(await built.api.post(f"{QUEUES}/{queue}/messages", json={"body": {"n": 1}}))
    d1 = ok(await built.api.post(f"{ACCOUNT}/d1/database", json={"name": "db", **OWNER}))["uuid"]
    ok(await built.api.post(f"{ACCOUNT}/d1/database/{d1}/query", json={"sql": "CREATE TABLE t (x)"}))
    bindings = [
        {"type": "kv_namespace", "name": "KV", "namespace_id": kv},
        {"type": "queue", "name": "Q", "queue_name": "queue"},
        {"type": "d1", "name": "DB", "id": d1},
        {"type": "secret_text", "name": "S", "text": "hidden"},
    ]
    ok(await built.deploy("shop", "prod", tenant="acme", bindings=bindings))
    target = {"namespace": "prod", "script": "shop"}
    ok(await built.api.post(ROUTES, json={"hostname": "shop.example.com", "target": target}))
    yield built
    await built.close()


def check(folder: Path, opens: _Opens | None = None, *, deep: bool = True) -> list[Finding]:
    found = list(check_files(folder, deep=deep))
    if not found:
        secret, material = (None, None) if opens is None else (opens.secret, opens.material)
        found = list(check_state(folder, deep=deep, secret=secret, material=material))
    return found


def break_with(path: Path, sql: str) -> None:
    connection = apsw.Connection(str(path))
    connection.execute(sql).fetchall()
    connection.close()


async def test_nothing_is_found_in_a_whole_folder(host: Host) -> None:
    assert check(host.folder, _Opens((host.root_key,))) == []
    assert check(host.folder, deep=False) == []


async def test_nothing_is_found_while_a_host_works(host: Host) -> None:
    stop = asyncio.Event()

    async def work() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            kv = ok(await host.api.post(KV, json={"title": f"kv-{number}"}))["id"]
            ok(await host.api.put(f"{KV}/{kv}/values/key", content=b"value"))
            queue = ok(await host.api.post(QUEUES, json={"queue_name": f"queue-{number}"}))["queue_id"]
            ok(await host.api.post(f"{QUEUES}/{queue}/messages", json={"body": {"n": 1}}))
            ok(await host.deploy(f"script-{number}", "prod"))
            d1 = ok(await host.api.post(f"{ACCOUNT}/d1/database", json={"name": f"db-{number}"}))["uuid"]
            for path in (f"{KV}/{kv}", f"{QUEUES}/{queue}", f"{ACCOUNT}/d1/database/{d1}"):
                ok(await host.api.delete(path))

    working = asyncio.create_task(work())
    try:
        for _ in range(10):
            found = await asyncio.to_thread(check, host.folder, _Opens((host.root_key,)))
            assert [each for each in found if each.severity is Severity.ERROR] == []
            # A deletion may be under way.
            assert {each.check for each in found} <= {"deletions"}
    finally:
        stop.set()
        await working


DELETION = "INSERT INTO tenant_deletions VALUES ('prod', 'acme', 1,"
#: What is done to the folder → the rule that it breaks, a word of the finding, and how it is put right.
BROKEN: list[tuple[str, str, str, str, Repair | None]] = [
    (
        "queues.db",
        "INSERT INTO queue_settings VALUES ('0123', 1, 0, 60)",
        "orphans",
        "settings of queue 0123",
        Repair.ORPHAN_QUEUE,
    ),
    ("control.db", "DELETE FROM script_bindings WHERE name = 'KV'", "bindings", "index of bindings", None),
    ("control.db", "UPDATE scripts SET tenant = 'other'", "scripts", "another script's or tenant's", None),
    ("control.db", "UPDATE scripts SET record = x'c1'", "scripts", "can't be read", None),
    ("control.db", "UPDATE routes SET target_script = 'gone'", "routes", "which is not there", None),
    ("control.db", "DELETE FROM hostname_records", "routes", "looked up", Repair.HOSTNAME_RECORD),
    (
        "control.db",
        "UPDATE hostname_records SET record = x'c1'",
        "routes",
        "looked up",
        Repair.HOSTNAME_RECORD,
    ),
    ("control.db", "DELETE FROM namespaces", "owners", "namespace 'prod'", None),
    ("control.db", "UPDATE secrets SET version = version + 1", "secrets", "does not open", None),
    ("control.db", "UPDATE secrets SET sealed = zeroblob(60)", "secrets", "does not open", None),
    ("control.db", "UPDATE secrets SET version = 99999", "changes", "version 99999", None),
    ("control.db", "UPDATE sqlite_sequence SET seq = 1 WHERE name = 'changes'", "changes", "twice", None),
    ("control.db", "DELETE FROM changes", "changes", "newest change is 0", Repair.SEQUENCE),
    ("control.db", "DELETE FROM kv_namespaces", "orphans", "keys of KV", Repair.ORPHAN_KV),
    ("control.db", "DELETE FROM kv_namespaces", "bindings", "leads nowhere", None),
    ("control.db", "DELETE FROM queues", "orphans", "messages of queue", Repair.ORPHAN_QUEUE),
    ("control.db", "DELETE FROM d1_databases", "orphans", "file of database", Repair.ORPHAN_DATABASE),
    ("control.db", f"{DELETION} NULL)", "deletions", "cut short", Repair.DELETIONS),
    ("control.db", f"{DELETION} 99999999999999)", "tenants", "but not its KV namespace", None),
    (
        "control.db",
        "INSERT INTO pending_deletions VALUES ('kv', 'x')",
        "deletions",
        "1 deleted",
        Repair.DELETIONS,
    ),
    ("kv.db", "UPDATE kv_usage SET keys = 7", "counts", "keys of KV", Repair.KV_USAGE),
    ("queues.db", "UPDATE queue_heads SET bytes = 1", "counts", "counted wrong", Repair.QUEUE_HEADS),
    (
        "queues.db",
        "UPDATE queue_heads SET next_ready_at_ms = NULL",
        "counts",
        "are ready",
        Repair.QUEUE_HEADS,
    ),
    (
        "queues.db",
        "UPDATE queue_messages SET lease_id = 'x', ready_at_ms = 99999999999999",
        "leases",
        "lent for longer",
        Repair.LEASES,
    ),
    (
        "cron.db",
        "INSERT INTO cron_claims VALUES ('prod', 'gone', '* * * * *', 60000, 0)",
        "orphans",
        "scheduled runs of prod/gone",
        Repair.CRON,
    ),
    ("kv.db", "DELETE FROM schema_migrations WHERE number = 2", "schema", "tenantry migrate", None),
    ("kv.db", "INSERT INTO schema_migrations VALUES ('kv', 9999, 'x')", "integrity", "newer release", None),
]


@pytest.mark.parametrize(("name", "sql", "rule", "word", "repair"), BROKEN)
async def test_what_does_not_fit_is_found_and_what_can_be_is_put_right(
    host: Host, name: str, sql: str, rule: str, word: str, repair: Repair | None
) -> None:
    for path in (host.folder / "d1").glob("*.sqlite"):
        os.utime(path, (time.time() - 3600,) * 2)
    break_with(host.folder / name, sql)
    found = check(host.folder, _Opens((host.root_key,)))
    (finding,) = [each for each in found if each.check == rule and word in each.what][:1]
    assert finding.repair is repair
    if repair is None:
        return
    await put_right(host.folder, finding)
    left = check(host.folder, _Opens((host.root_key,)))
    assert finding not in left
    if repair is not Repair.SEQUENCE:  # the log itself is gone there
        assert [each for each in left if each.repair is not None] == []


def lose_module(folder: Path) -> None:
    (module,) = (folder / "objects").glob("*/*")
    module.unlink()


def damage_module(folder: Path) -> None:
    (module,) = (folder / "objects").glob("*/*")
    module.write_bytes(module.read_bytes()[:-1] + b"!")


def lose_database(folder: Path) -> None:
    (path,) = (folder / "d1").glob("*.sqlite")
    path.unlink()


def damage_database(folder: Path) -> None:
    (path,) = (folder / "d1").glob("*.sqlite")
    break_with(path, "CREATE TABLE more (y); INSERT INTO more VALUES (zeroblob(9000))")
    break_with(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    whole = bytearray(path.read_bytes())
    whole[4096:8192] = b"\xff" * 4096
    path.write_bytes(whole)


def lose_file(folder: Path) -> None:
    (folder / "queues.db").unlink()


def lose_cron(folder: Path) -> None:
    (folder / "cron.db").unlink()


def no_database(folder: Path) -> None:
    (folder / "audit.db").write_bytes(b"this is something else" * 1000)
    (folder / "audit.db-wal").unlink()


@pytest.mark.parametrize(
    ("harm", "rule", "word"),
    [
        (lose_module, "modules", "has no module"),
        (damage_module, "modules", "is damaged"),
        (lose_database, "databases", "has no file"),
        (damage_database, "integrity", "d1/"),
        (lose_file, "files", "queues.db is not there"),
        (no_database, "integrity", "audit.db"),
        (lose_cron, "files", "cron.db is not there"),
    ],
)
async def test_lost_and_damaged_files_are_found(
    host: Host, harm: Callable[[Path], None], rule: str, word: str
) -> None:
    await host.d1.close()
    harm(host.folder)
    found = check(host.folder, _Opens((host.root_key,)))
    assert [each for each in found if each.check == rule and word in each.what] != []
    assert {each.severity for each in found} == {Severity.ERROR}


async def test_restore_points_that_a_kill_left_of_a_deleted_database_are_removed(host: Host) -> None:
    folder = host.folder / "d1"
    (of_one_that_is_there,) = [path.stem for path in folder.glob("*.sqlite")]
    files.snapshot(folder, of_one_that_is_there, 1)
    gone = str(uuid.uuid4())
    files.create(folder, gone)
    left = files.snapshot(folder, gone, 1).path
    for path in folder.glob(f"{gone}.*"):  # what `files.delete` removes first
        path.unlink()
    assert check(host.folder) == [], "it may be under way"
    os.utime(left, (time.time() - 3600,) * 2)
    (finding,) = check(host.folder)
    assert (finding.severity, finding.repair) == (Severity.WARNING, Repair.ORPHAN_DATABASE)
    assert finding.what == f"restore points of database {gone}, which is not there"
    await put_right(host.folder, finding)
    assert not left.exists()
    assert check(host.folder) == []
    assert len(files.snapshots(folder, of_one_that_is_there)) == 1


async def test_responses_of_deleted_tenants_are_found_and_forgotten(host: Host) -> None:
    now_s = unix_s()

    async def keep(owner: str, at_s: float) -> None:
        place = CachePlace(owner, "default", "https://a.example/", 0.0)
        await host.responses.put(place, f"{owner} {at_s}", b"", b"%f" % at_s, at_s, b"body")

    for owner in ("/plain", "prod/acme", "prod/never-deployed"):
        await keep(owner, now_s)
    assert check(host.folder) == []
    ok(await host.api.delete(f"{NAMESPACES}/prod/tenants/acme"))
    assert check(host.folder) == []
    # A worker's last event kept it after that; a namespace that is gone; and one of a name that is there again.
    await keep("prod/acme", unix_s())
    await keep("nowhere/acme", now_s)
    found = check(host.folder)
    assert {(each.check, each.severity, each.repair) for each in found} == {
        ("orphans", Severity.WARNING, Repair.RESPONSES)
    }
    assert sorted(each.subject for each in found) == ["nowhere/acme", "prod/acme"]
    ok(await host.deploy("shop", "prod", tenant="acme"))
    assert [each.subject for each in check(host.folder)] == ["nowhere/acme"]
    await keep("prod/acme", now_s - 60)
    found = check(host.folder)
    assert sorted(each.subject for each in found) == ["nowhere/acme", "prod/acme"]
    for each in found:
        await put_right(host.folder, each)
    assert check(host.folder) == []
    for owner, kept in (("/plain", 1), ("prod/never-deployed", 1), ("prod/acme", 0), ("nowhere/acme", 0)):
        place = CachePlace(owner, "default", "https://a.example/", 0.0)
        assert len(host.responses.find(place)) == kept, owner


async def put_right(folder: Path, finding: Finding) -> None:
    contents = FileContents(folder)
    repairs = Repairs(folder, lambda digest: None, contents)
    try:
        await repairs.repair(finding)
    finally:
        repairs.close()
        await contents.close()


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("DELETE FROM schema_migrations", "cache.db lacks migration cache 1"),
        ("INSERT INTO schema_migrations VALUES ('cache', 9999, 'x')", "newer release"),
        ("", "NotADBError"),
    ],
)
async def test_a_cache_that_is_of_no_use_is_no_loss_and_can_be_removed(
    host: Host, sql: str, word: str
) -> None:
    cache = host.folder / "cache.db"
    host.responses_database.close()
    cache.unlink()
    assert check(host.folder) == [], "a host that never started has none"
    Database.open(cache, cache_migrations()).close()
    assert check(host.folder) == []
    if sql:
        break_with(cache, sql)
    else:
        cache.write_bytes(b"this is something else" * 1000)
    found = [
        *check_files(host.folder, deep=True),
        *check_state(host.folder, deep=True, secret=None, material=None),
    ]
    assert {(each.severity, each.repair) for each in found} == {(Severity.WARNING, Repair.CACHE)}
    assert any(word in each.what for each in found)
    await put_right(host.folder, found[0])
    assert check(host.folder) == []
    Database.open(cache, cache_migrations()).close()


class Bucket:
    """Implements storage.object_cache.RemoteObjects, as far as a check asks it."""

    where = "the bucket"

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}

    def store(self, digest: str, data: bytes) -> None:
        self.held[digest] = data

    def fetch(self, digest: str) -> bytes:
        if digest not in self.held:
            raise ObjectMissing(digest)
        return self.held[digest]

    def exists(self, digest: str) -> bool:
        return digest in self.held

    def digests(self) -> Iterator[str]:
        return iter(self.held)

    def remove_stale(self, digest: str, older_than_s: float) -> int:
        return 0


async def test_modules_of_a_bucket_are_looked_for_there_and_not_missed_in_the_folder(host: Host) -> None:
    (module,) = (host.folder / "objects").glob("*/*")
    bucket = Bucket()
    bucket.store(module.name, module.read_bytes())
    module.unlink()

    def check_with_bucket(*, deep: bool) -> list[str]:
        state = check_state(host.folder, deep=deep, secret=None, material=None, in_bucket=True)
        return [each.what for each in (*state, *check_bucket(bucket, host.folder, deep=deep))]

    assert check_with_bucket(deep=True) == check_with_bucket(deep=False) == []
    bucket.held[module.name] += b"!"
    assert check_with_bucket(deep=False) == []
    assert check_with_bucket(deep=True) == [
        f"module {module.name} is damaged in the bucket, and a script has it"
    ]
    bucket.held.clear()
    for deep in (True, False):
        assert check_with_bucket(deep=deep) == [
            f"module {module.name} is not in the bucket, and a script has it"
        ]


async def test_another_root_key_opens_nothing(host: Host) -> None:
    from storage.keys import RootKey

    (finding,) = check(host.folder, _Opens((RootKey(bytes(32)),)))
    assert finding.check == "secrets"
    assert "made with another key" in finding.what


async def test_deleted_tenant_leaves_nothing_to_find(host: Host) -> None:
    ok(await host.api.delete(f"{NAMESPACES}/prod/tenants/acme"))
    assert check(host.folder, _Opens((host.root_key,))) == []
    ok(await host.deploy("shop", "prod", tenant="acme"))
    assert check(host.folder, _Opens((host.root_key,))) == []


async def test_what_a_platform_of_machines_has_in_postgresql_is_not_missed(host: Host) -> None:
    break_with(
        host.folder / "control.db",
        "CREATE TABLE replication (joined INTEGER); INSERT INTO replication VALUES (1)",
    )
    for name in ("kv.db", "queues.db", "cron.db"):
        (host.folder / name).unlink()
        (host.folder / name).touch()
    assert check(host.folder, _Opens((host.root_key,))) == []
