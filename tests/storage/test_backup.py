"""A backup is made while the host's files are in use, holds all but the keys, and makes an equal folder again."""

from __future__ import annotations

import asyncio
import gzip
import io
import os
import subprocess
import tarfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from model.capabilities import KvEntry, QueueMessage
from model.clock import unix_ms
from model.identity import DEFAULT_ACCOUNT, NamespaceName, ScriptName
from model.scripts import ScriptRef
from storage.backup import back_up
from storage.backup_manifest import BackupInvalid, OtherRootKey
from storage.d1.files import create_at
from storage.d1.files import opened as opened_database
from storage.data_files import lasting
from storage.failures import DiskFull, SchemaMismatch, StorageError
from storage.keys import RootKey
from storage.restore import FolderInUse, restore
from storage.sqlite_files import opened
from tests.control.support import ACCOUNT, KV, QUEUES, Host, ok

NOTHING: frozenset[str] = frozenset()
SECRET = "the secret that nobody reads"


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    folder = tmp_path / "data"
    folder.mkdir()
    built = Host(folder)
    await built.namespace()
    kv = ok(await built.api.post(KV, json={"title": "kv"}))["id"]
    ok(await built.api.put(f"{KV}/{kv}/values/key", content=b"value"))
    queue = ok(await built.api.post(QUEUES, json={"queue_name": "queue"}))["queue_id"]
    ok(await built.api.post(f"{QUEUES}/{queue}/messages", json={"body": {"n": 1}}))
    d1 = ok(await built.api.post(f"{ACCOUNT}/d1/database", json={"name": "db"}))["uuid"]
    ok(await built.api.post(f"{ACCOUNT}/d1/database/{d1}/query", json={"sql": "CREATE TABLE t (x)"}))
    ok(await built.api.post(f"{ACCOUNT}/d1/database/{d1}/query", json={"sql": "INSERT INTO t VALUES (7)"}))
    secret = {"type": "secret_text", "name": "S", "text": SECRET}
    ok(await built.deploy("shop", "prod", bindings=[secret]))
    yield built
    await built.close()


def contents(folder: Path) -> dict[str, object]:
    """Every row of every database, and the bytes of every module."""
    found: dict[str, object] = {}
    databases = [folder / name for name in lasting(folder)] + sorted((folder / "d1").glob("*.sqlite"))
    for path in databases:
        with opened(path) as file:
            tables = file.read(
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
            )
            for (table,) in tables:
                found[f"{path.name} {table}"] = file.read(f'SELECT * FROM "{table}" ORDER BY 1')  # noqa: S608
    found.update({path.name: path.read_bytes() for path in (folder / "objects").glob("*/*")})
    return found


def make(host: Host, target: Path) -> Path:
    made = back_up(host.folder, target, host.root_key, "1.2.3", unix_ms())
    assert made.lacks == []
    return target


async def test_restored_folder_has_every_row_and_module_and_no_key(host: Host, tmp_path: Path) -> None:
    file = make(host, tmp_path / "backup.tar.gz")
    assert file.stat().st_mode & 0o777 == 0o600
    restored = tmp_path / "restored"
    manifest = restore(file, restored, host.root_key, NOTHING)
    assert manifest.change == host.store.sequence()
    assert contents(restored) == contents(host.folder)
    assert not (restored / "cache.db").exists(), "it fills again by itself"
    assert not (restored / "root-key").exists()
    assert not (restored / "admin-token").exists()
    assert restored.stat().st_mode & 0o777 == 0o700
    assert sorted(os.listdir(tmp_path)) == ["backup.tar.gz", "data", "restored"]


async def test_restored_folder_serves_what_was_there(host: Host, tmp_path: Path) -> None:
    restore(make(host, tmp_path / "backup"), tmp_path / "restored", host.root_key, NOTHING)
    (tmp_path / "restored" / "root-key").write_bytes((host.folder / "root-key").read_bytes())
    (tmp_path / "restored" / "root-key").chmod(0o600)
    second = Host(tmp_path / "restored")
    try:
        kv = ok(await second.api.get(KV))[0]["id"]
        assert (await second.api.get(f"{KV}/{kv}/values/key")).content == b"value"
        d1 = ok(await second.api.get(f"{ACCOUNT}/d1/database"))[0]["uuid"]
        rows = ok(await second.api.post(f"{ACCOUNT}/d1/database/{d1}/query", json={"sql": "SELECT x FROM t"}))
        assert rows[0]["results"] == [{"x": 7}]
        ref = ScriptRef(NamespaceName("prod"), ScriptName("shop"))
        sealed = second.store.secret_ciphertext(ref, "S")
        assert sealed is not None
        from bindings.secret_store import secret_info
        from storage.keys import unseal

        info = secret_info(DEFAULT_ACCOUNT, ref, "S", sealed[0])
        assert unseal(second.root_key.derive("secret", info), sealed[1], info).decode() == SECRET
        # Changes go on from where they were: no number is used a second time.
        before = second.store.sequence()
        assert before == host.store.sequence()
        await second.namespace("another")
        assert second.store.sequence() > before
    finally:
        await second.close()


async def test_neither_key_nor_secret_nor_token_is_in_a_backup(host: Host, tmp_path: Path) -> None:
    plain = gzip.decompress(make(host, tmp_path / "backup").read_bytes())
    for hidden in (SECRET.encode(), (host.folder / "root-key").read_bytes(), host.token.encode()):
        assert hidden not in plain


async def test_backup_beside_writers_is_whole_and_what_it_names_is_in_it(host: Host, tmp_path: Path) -> None:
    stop = asyncio.Event()

    async def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            await host.services.kv.put_many(
                "n", [("one", KvEntry(b"%d" % number)), ("two", KvEntry(b"%d" % number))]
            )
            await host.services.queues.send("q", [QueueMessage(b"x", "bytes", 0)])
            ok(await host.deploy(f"script-{number}", "prod"))
            d1 = ok(await host.api.post(f"{ACCOUNT}/d1/database", json={"name": f"db-{number}"}))["uuid"]
            if number % 2:
                ok(await host.api.delete(f"{ACCOUNT}/d1/database/{d1}"))

    writing = asyncio.create_task(write())
    try:
        for number in range(5):
            file = tmp_path / f"backup-{number}"
            await asyncio.to_thread(make, host, file)
            restored = tmp_path / f"restored-{number}"
            await asyncio.to_thread(restore, file, restored, host.root_key, NOTHING)
            with opened(restored / "kv.db") as kv:
                assert (
                    len({row[0] for row in kv.read("SELECT value FROM kv_entries WHERE namespace_id = 'n'")})
                    <= 1
                )
            with opened(restored / "control.db") as control:
                ids = {row[0] for row in control.read("SELECT id FROM d1_databases")}
                assert control.problems(thorough=True) == []
            assert ids == {path.stem for path in (restored / "d1").glob("*.sqlite")}
    finally:
        stop.set()
        await writing


async def test_backup_says_what_is_missing(host: Host, tmp_path: Path) -> None:
    (module,) = (host.folder / "objects").glob("*/*")
    module.unlink()
    made = back_up(host.folder, tmp_path / "backup", host.root_key, "1.2.3", unix_ms())
    assert [lack.partition(":")[0] for lack in made.lacks] == [f"module {module.name}"]


async def test_databases_that_machines_share_are_copied_from_where_they_are(
    host: Host, tmp_path: Path
) -> None:
    (here,) = (host.folder / "d1").glob("*.sqlite")
    asked = []

    def shared(database_id: str, to: Path) -> bool:
        asked.append(database_id)
        create_at(to)
        with opened_database(to) as newer:
            newer.execute("CREATE TABLE t (x); INSERT INTO t VALUES (8)").fetchall()
        return True

    file = tmp_path / "backup"
    made = back_up(host.folder, file, host.root_key, "1.2.3", unix_ms(), shared=shared)
    assert (asked, made.lacks) == ([here.stem], [])
    restore(file, tmp_path / "restored", host.root_key, NOTHING)
    with opened(tmp_path / "restored" / "d1" / here.name) as restored:
        assert restored.read("SELECT x FROM t") == [(8,)]


async def test_a_database_that_was_shared_and_is_not_there_is_named(host: Host, tmp_path: Path) -> None:
    (here,) = (host.folder / "d1").glob("*.sqlite")

    def back(name: str) -> list[str]:
        made = back_up(
            host.folder, tmp_path / name, host.root_key, "1.2.3", unix_ms(), shared=lambda _id, _to: False
        )
        return made.lacks

    assert back("one") == [], "its file is from before the machine was one of several"
    here.with_suffix(".lease").write_bytes(b"\1" * 64)
    assert back("two") == [f"database {here.stem}: PostgreSQL does not have it"]


async def test_backup_overwrites_nothing_and_leaves_nothing_half(host: Host, tmp_path: Path) -> None:
    (tmp_path / "backup").write_text("another one")
    with pytest.raises(StorageError, match="exists"):
        make(host, tmp_path / "backup")
    assert (tmp_path / "backup").read_text() == "another one"
    assert sorted(os.listdir(tmp_path)) == ["backup", "data"]


async def test_restore_into_a_folder_that_holds_something_is_refused(host: Host, tmp_path: Path) -> None:
    file = make(host, tmp_path / "backup")
    before = contents(host.folder)
    with pytest.raises(FolderInUse, match="is not empty"):
        restore(file, host.folder, host.root_key, frozenset({"root-key"}))
    assert contents(host.folder) == before


async def test_restore_with_another_root_key_is_refused(host: Host, tmp_path: Path) -> None:
    file = make(host, tmp_path / "backup")
    with pytest.raises(OtherRootKey, match=host.root_key.key_id):
        restore(file, tmp_path / "restored", RootKey(bytes(32)), NOTHING)
    assert os.listdir(tmp_path / "restored") == []
    restore(file, tmp_path / "restored", None, NOTHING)


def repacked(file: Path, change: Callable[[str, bytes], tuple[str, bytes] | None]) -> Path:
    """The backup with each member as `change` makes it."""
    out = file.with_name("changed")
    with tarfile.open(file) as old, tarfile.open(out, "w:gz") as new:
        for info in old:
            content = old.extractfile(info)
            assert content is not None
            made = change(info.name, content.read())
            if made is not None:
                entry = tarfile.TarInfo(made[0])
                entry.size = len(made[1])
                new.addfile(entry, io.BytesIO(made[1]))
    return out


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda name, data: (name, data[:-1] + b"!") if name == "kv.db" else (name, data), "kv.db"),
        (lambda name, data: None if name == "queues.db" else (name, data), "queues.db"),
        (lambda name, data: None if name == "manifest.json" else (name, data), "no manifest"),
        (lambda name, data: ("../escaped", data) if name == "kv.db" else (name, data), "no part of one"),
        (lambda name, data: ("/etc/x", data) if name == "kv.db" else (name, data), "no part of one"),
        (lambda name, data: ("root-key", data) if name == "kv.db" else (name, data), "no part of one"),
        (
            lambda name, data: (
                (name, data.replace(b'"change":', b'"change":1')) if name == "manifest.json" else (name, data)
            ),
            "was changed",
        ),
    ],
)
async def test_changed_backup_is_refused_and_leaves_the_folder_empty(
    host: Host, tmp_path: Path, change: Callable[[str, bytes], tuple[str, bytes] | None], why: str
) -> None:
    file = repacked(make(host, tmp_path / "backup"), change)
    with pytest.raises(BackupInvalid, match=why):
        restore(file, tmp_path / "restored", host.root_key, NOTHING)
    assert os.listdir(tmp_path / "restored") == []
    assert not (tmp_path / "escaped").exists()


async def test_cut_short_backup_is_refused_wherever_it_was_cut(host: Host, tmp_path: Path) -> None:
    whole = make(host, tmp_path / "backup").read_bytes()
    for part in (0, 1, len(whole) // 3, len(whole) // 2, len(whole) - 9, len(whole) - 1):
        (tmp_path / "cut").write_bytes(whole[:part])
        with pytest.raises(BackupInvalid):
            restore(tmp_path / "cut", tmp_path / "restored", host.root_key, NOTHING)
        assert os.listdir(tmp_path / "restored") == []


async def test_backup_of_a_newer_release_is_refused(host: Host, tmp_path: Path) -> None:
    host.store.database.write_blocking(
        lambda tx: tx.execute("INSERT INTO schema_migrations VALUES ('control', 9999, 'x')")
    )
    with pytest.raises(SchemaMismatch, match="newer release"):
        make(host, tmp_path / "backup")


async def test_backup_on_a_full_disk_is_told_and_leaves_nothing(host: Host, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(full)], capture_output=True, check=False
    )
    if made.returncode != 0:
        pytest.skip("this needs the right to mount a file system")
    try:
        with pytest.raises(DiskFull):
            make(host, full / "backup")
        assert os.listdir(full) == []
        with pytest.raises(DiskFull):
            restore(make(host, tmp_path / "backup"), full / "restored", host.root_key, NOTHING)
        assert os.listdir(full / "restored") == []
    finally:
        subprocess.run(["umount", str(full)], check=True)
