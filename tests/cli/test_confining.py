"""Processes of a host, as `serve` confines them: they reach what their work needs, and no key beside it.

Each row runs in a child that confines itself as the process does.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from cli import compile_process
from cli.confining import D1, SCRATCH, WORKER_READS, WORKER_WRITES, prepare_folder
from cli.errors import CliError
from cli.object_places import place_as_config
from cli.serve import serve
from cli.serve_settings import serve_settings
from processes.confinement import InForce, offered
from processes.confinement_probe import probe_confinement
from runtime.compile import Compiler
from runtime.compile_answers import CompileRefused
from storage.object_bucket import BucketPlace
from tests.processes.test_confinement import (
    DENIED_TO_UNTRUSTED,
    NEEDED_BY_ALL,
    needs_filters,
    needs_landlock,
    needs_root,
    outcomes,
)
from tests.runtime.test_compile import bundle_of
from tests.support.children import ROOT, expect_ok
from tests.support.guests import engine, sample, wat
from tests.support.s3 import S3Server
from tests.support.toy_engine import toy_engine

MEMORY = 16 << 20
SAMPLES = sorted(path.stem for path in (ROOT / "sample_workers").glob("*/*.wasm"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder as `serve` leaves it before it starts a worker process."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    expect_ok(
        f"""
        from pathlib import Path
        from storage.control_store import ControlStore
        from storage.changes import ChangeSequence
        from storage.database import Database
        from storage.kv_store import kv_migrations
        from storage.queue_store import queue_migrations
        data = Path({str(folder)!r})
        ControlStore.open(data / "control.db", ChangeSequence(data / "changes.seq")).close()
        Database.open(data / "kv.db", kv_migrations()).close()
        Database.open(data / "queues.db", queue_migrations()).close()
        for name in ("root-key", "admin-token", "tokens.db", "audit.db", "serve.lock"):
            (data / name).write_text("secret")
        (data / "objects").mkdir()
        (data / "objects" / "module").write_text("secret")
        (data / "aot").mkdir()
        (data / "aot" / "image").write_text("image")
        """
    )
    return folder


def worker(data: Path, root_key: Path | None = None, hooks: tuple[str, ...] = ()) -> str:
    config = {
        "data": str(data),
        "root_key_file": str(root_key or data / "root-key"),
        "confinement": "require",
    }
    return f"from cli.confining import confine_worker\nconfine_worker({config!r}, {hooks!r})"


# -- worker processes --------------------------------------------------------------------------------


@needs_filters
def test_worker_starts_nobody_and_speaks_to_nobody_on_this_machine(data: Path) -> None:
    needed = [
        *NEEDED_BY_ALL,
        "socket.socket().close()",
        "socket.socket(socket.AF_INET6).close()",
        "socket.socket(type=socket.SOCK_DGRAM).close()",
        "socket.socketpair()",
        "socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)",
    ]
    found = outcomes(worker(data), [*DENIED_TO_UNTRUSTED, *needed])
    for code in DENIED_TO_UNTRUSTED:
        assert found[code] == "EPERM", code
    assert {code: found[code] for code in needed} == dict.fromkeys(needed, "done")


@needs_landlock
def test_worker_reaches_its_files_and_no_others(data: Path, tmp_path: Path) -> None:
    """Also a root key that is kept elsewhere, in a folder on Python's path."""
    elsewhere = Path(sys.prefix) / f"root-key-of-a-test-{os.getpid()}"
    elsewhere.write_text("secret")
    denied = [
        *(
            f"open({str(data / name)!r})"
            for name in ("root-key", "admin-token", "tokens.db", "audit.db", "objects/module")
        ),
        f"open({str(data / 'control.db')!r}, 'r+')",
        f"open({str(data / 'aot/image')!r}, 'r+')",
        f"open({str(data / 'new')!r}, 'w')",
        f"os.listdir({str(data)!r})",
        f"os.unlink({str(data / 'kv.db')!r})",
        f"os.listdir({str(tmp_path)!r})",
        f"open({str(elsewhere)!r})",
        "open('/etc/shadow')",
        f"open({str(ROOT / 'README.md')!r})",
        "open('/proc/%d/environ' % parent)",
        "open('/proc/%d/mem' % parent)",
    ]
    needed = [
        f"open({str(data / 'aot/image')!r}).read()",
        "open('/proc/self/fd/%d' % os.open(" + repr(str(data / "aot/image")) + ", os.O_RDONLY)).read()",
        *(f"open({str(data / name)!r}, 'r+b').close()" for name in WORKER_WRITES),
        *(f"open({str(data / name)!r}, 'rb').close()" for name in WORKER_READS if name != "aot"),
        "tempfile.TemporaryFile(dir=" + repr(str(data / SCRATCH)) + ").write(b'x')",
        "open('/etc/resolv.conf').close()" if Path("/etc/resolv.conf").exists() else "pass",
        "open('/etc/hosts').close()",
        "open('/proc/self/statm').close()",
        "open('/proc/net/fib_trie').close()",
        "socket.getaddrinfo('localhost', 80)",
        "ssl.create_default_context()",
        "import zoneinfo; zoneinfo.ZoneInfo('UTC')" if Path("/usr/share/zoneinfo/UTC").exists() else "pass",
        "import wave, aiohttp.web, bindings.reference",  # nothing imported it before
    ]
    try:
        # The packages are there, as in the process; what is in them may come later.
        found = outcomes("import bindings\n" + worker(data, elsewhere), [*denied, *needed])
    finally:
        elsewhere.unlink()
    for code in denied:
        assert found[code] in ("EACCES", "EPERM"), code
    assert {code: found[code] for code in needed} == dict.fromkeys(needed, "done")


@needs_landlock
@pytest.mark.skipif(offered().landlock_abi < 4, reason="this kernel's Landlock knows no TCP")
def test_worker_connects_out_but_opens_no_port(data: Path) -> None:
    bind, connect = "socket.socket().bind(('127.0.0.1', 0))", "socket.socket().connect(('127.0.0.1', 1))"
    assert outcomes(worker(data), [bind, connect]) == {bind: "EACCES", connect: "ECONNREFUSED"}


USE_DATABASES = """
import asyncio
from storage.changes import ChangeSequence
from storage.control_store import ControlStore
from storage.database import Database
from storage.kv_store import kv_migrations
from storage.queue_store import queue_migrations
async def use():
    store = ControlStore.open(data / "control.db", ChangeSequence(data / "changes.seq"), read_only=True)
    store.database.read("SELECT count(*) FROM changes")
    queues = Database.open(data / "queues.db", queue_migrations())
    kv = Database.open(data / "kv.db", kv_migrations())
    def large(tx):
        tx.execute("CREATE TABLE big (id INTEGER PRIMARY KEY, bytes BLOB)")
        for n in range(400):
            tx.execute("INSERT INTO big VALUES (?, ?)", (n, b"x" * 4000))
    def undone(tx):
        tx.execute("UPDATE big SET bytes = ?", (b"y" * 4000,))
        raise KeyError
    await kv.write(large)
    try:
        await kv.write(undone)
    except KeyError:
        pass
    rows = await kv.read_in_thread("SELECT bytes FROM big ORDER BY bytes DESC, random()")
    assert set(rows) == {(b"x" * 4000,)}
    for database in (kv, queues, store):
        database.close()
asyncio.run(use())
"""


@needs_landlock
def test_worker_reads_and_writes_its_databases(data: Path) -> None:
    """From several threads, and with a work too large to be undone in memory; after it, others find the log."""
    work = f"\ndata = Path({str(data)!r})\n{USE_DATABASES}"
    imports = "from storage import control_store, kv_store, queue_store\n"
    assert outcomes(imports + worker(data) + work, ["pass"]) == {"pass": "done"}
    assert {path.name for path in data.glob("*.db-wal")} >= {"control.db-wal", "kv.db-wal", "queues.db-wal"}
    assert list((data / SCRATCH).iterdir()) == []
    # A second life, whose rules are about the files that the first one left.
    work = work.replace("CREATE TABLE big", "CREATE TABLE big2").replace(" big ", " big2 ")
    assert outcomes(imports + worker(data) + work, ["pass"]) == {"pass": "done"}


@needs_landlock
def test_hook_may_import_from_its_own_package_later(data: Path, tmp_path: Path) -> None:
    package = tmp_path / "site" / "mysaas"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "later.py").touch()
    (tmp_path / "site" / "secret.txt").write_text("secret")
    setup = f"sys.path.append({str(tmp_path / 'site')!r})\nimport mysaas\nsys.path.pop()\n"
    secret = f"open({str(tmp_path / 'site/secret.txt')!r})"
    found = outcomes(setup + worker(data, hooks=("mysaas.front",)), ["import mysaas.later", secret])
    assert found == {"import mysaas.later": "done", secret: "EACCES"}


def test_what_a_rule_needs_is_made_private_and_left_alone_later(tmp_path: Path) -> None:
    prepare_folder(tmp_path)
    (tmp_path / "kv.db").write_bytes(b"kept")
    prepare_folder(tmp_path)
    assert (tmp_path / "kv.db").read_bytes() == b"kept"
    assert {path.stat().st_mode & 0o077 for path in tmp_path.iterdir()} == {0}
    assert {path.name for path in tmp_path.iterdir()} == {*WORKER_READS, *WORKER_WRITES, SCRATCH, D1}


# -- control -----------------------------------------------------------------------------------------


def control(data: Path, root_key: Path | None = None) -> str:
    config = {
        "data": str(data),
        "root_key_file": str(root_key or data / "root-key"),
        "confinement": "require",
    }
    return f"import shutil\nfrom cli.confining import confine_control\nconfine_control({config!r})"


@needs_landlock
def test_control_has_its_data_folder_and_the_programs_that_compile(data: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "keys" / "root-key"
    elsewhere.parent.mkdir()
    elsewhere.write_text("k")
    (elsewhere.parent / "another-key").write_text("secret")
    denied = [
        f"open({str(elsewhere.parent / 'another-key')!r})",
        f"open({str(elsewhere)!r}, 'r+')",
        f"os.listdir({str(tmp_path)!r})",
        f"open({str(tmp_path / 'new')!r}, 'w')",
        "open('/etc/passwd')",
        "open('/etc/shadow')",
        f"open({str(ROOT / 'README.md')!r})",
        f"os.execv({str(data / 'program')!r}, ['program'])",
        "open('/proc/%d/environ' % parent)",
    ]
    needed = [
        f"open({str(elsewhere)!r}).close()",
        *(f"open({str(data / name)!r}, 'r+b').close()" for name in ("root-key", "tokens.db", "control.db")),
        f"os.mkdir({str(data / 'objects/ab')!r})",
        f"open({str(data / 'objects/.tmp')!r}, 'w').close()",
        f"os.rename({str(data / 'objects/.tmp')!r}, {str(data / 'objects/ab/abc')!r})",
        f"os.unlink({str(data / 'objects/ab/abc')!r})",
        f"shutil.rmtree({str(data / 'objects/ab')!r})",
        "open('/proc/%d/status' % parent).close()",
        "os.waitpid(os.posix_spawn(sys.executable, [sys.executable, '-c', ''], {}), 0)",
    ]
    (data / "program").write_text("#!/bin/sh\n")
    (data / "program").chmod(0o700)
    found = outcomes(control(data, elsewhere), [*denied, *needed])
    assert {code: found[code] for code in denied} == dict.fromkeys(denied, "EACCES")
    assert {code: found[code] for code in needed} == dict.fromkeys(needed, "done")


@needs_filters
@needs_landlock
def test_control_as_it_runs_compiles_an_upload_and_stores_it(data: Path) -> None:
    expect_ok(
        f"""
        import asyncio
        from pathlib import Path
        from cli import compile_process
        from cli.confining import confine_control
        from cli.publisher import LocalPublisher
        from runtime.aot_cache import AotCache
        from runtime.compile import Compiler
        from runtime.compile_queue import FairQueue
        from storage.object_store import FolderObjectStore
        data = Path({str(data)!r})
        confine_control({{"data": str(data), "root_key_file": str(data / "root-key"), "confinement": "require"}})
        module = {sample("hello")!r}
        async def run():
            objects, cache = FolderObjectStore(data / "objects"), AotCache(data / "aot", b"k" * 32)
            compiler = Compiler(argv=compile_process.argv("require"))
            prepared = await LocalPublisher(objects, cache, compiler, FairQueue(1)).prepare(module, "me")
            assert objects.put(module) == prepared.digest
            assert cache.has(prepared.digest)
        asyncio.run(run())
        """
    )


@needs_filters
@needs_landlock
def test_control_as_it_runs_reaches_its_bucket(data: Path, s3: S3Server, bucket: BucketPlace) -> None:
    place = place_as_config(bucket, s3.key)
    expect_ok(
        f"""
        from pathlib import Path
        from cli.confining import confine_control
        from cli.object_places import bucket_from_config
        from storage.object_cache import CachedObjectStore
        from storage.object_store import FolderObjectStore
        data, place = Path({str(data)!r}), {place!r}
        root_key = str(data / "root-key")
        confine_control({{"data": str(data), "root_key_file": root_key, "confinement": "require", "objects": place}})
        objects = bucket_from_config(place)
        digest = CachedObjectStore(FolderObjectStore(data / "objects"), objects).put(b"module")
        assert CachedObjectStore(FolderObjectStore(data / "new"), objects).get(digest) == b"module"
        """
    )


# -- the setting -------------------------------------------------------------------------------------


def test_required_and_missing_refuses_to_start_with_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is made in the data folder."""
    monkeypatch.setattr(
        "cli.serve.probe_confinement", lambda: {"worker": InForce(("seccomp",), ("landlock (none)",))}
    )
    settings = serve_settings({"data": str(tmp_path / "data"), "confinement": "require"}, {})
    with pytest.raises(CliError, match=r"--confinement require: .* worker .* without landlock \(none\)"):
        serve(settings)
    assert not (tmp_path / "data").exists()


@needs_filters
@needs_landlock
def test_probe_finds_what_each_kind_of_process_gets() -> None:
    found = probe_confinement()
    assert list(found) == ["compile child", "worker", "control", "supervisor"]
    assert not any(tried.missing for tried in found.values())
    assert "seccomp" in str(found["worker"])


@needs_filters
@needs_landlock
def test_whoever_is_not_root_gives_up_the_same() -> None:
    setup = "os.setgroups([])\nos.setresgid(65532, 65532, 65532)\nos.setresuid(65532, 65532, 65532)\n"
    become = setup if os.geteuid() == 0 else ""
    attempts = ["open('/etc/passwd')", "os.kill(parent, 0)", "in_thread()"]
    code = f"{become}assert not confine(profiles.compile_child(), 'require').missing"
    assert list(outcomes(code, attempts).values()) == ["EPERM", "EPERM", "done"]


# -- compile children --------------------------------------------------------------------------------


def confined() -> Compiler:
    return Compiler(argv=compile_process.argv("require"))


@needs_filters
@needs_landlock
@pytest.mark.parametrize("name", SAMPLES)
async def test_confined_child_compiles_every_sample_worker(name: str, tmp_path: Path) -> None:
    compiled = await confined().compile(sample(name), 128 << 20)
    path = tmp_path / "image"
    path.write_bytes(compiled.image)
    engine().load_image(str(path)).close()


@needs_filters
@needs_landlock
async def test_confined_spare_loads_javascript_and_says_what_is_wrong_with_it() -> None:
    """Engine and image are made after it has given up its rights."""
    compiler = confined()
    module = engine().compile(toy_engine())
    compiler.use_javascript(module.image())
    module.close()
    compiler.keep_spare()
    try:
        assert (await compiler.load(bundle_of("a"), 64 << 20)).handlers == {"fetch"}
        with pytest.raises(CompileRefused, match=r"unexpected token at worker\.js:3:5"):
            await compiler.load(bundle_of("e"), 64 << 20)
    finally:
        await compiler.close()


@needs_filters
@needs_landlock
@pytest.mark.parametrize(
    ("body", "words"),
    [("(loop $l (br $l))", "more than 1000 ms of CPU time"), ("unreachable", "unreachable")],
    ids=["spins", "traps"],
)
async def test_confined_child_still_says_why(body: str, words: str) -> None:
    module = wat(f'(module (memory (export "memory") 1) (func $s {body}) (start $s))')
    with pytest.raises(CompileRefused, match=words):
        await confined().compile(module, MEMORY)
    with pytest.raises(CompileRefused, match="not valid here"):
        await confined().compile(module[:-3], MEMORY)


@needs_filters
@needs_root
async def test_control_without_other_rights_still_ends_a_child_that_is_somebody_else() -> None:
    """A child at its wall time is killed by control, which kept the right to and few others."""
    expect_ok(
        f"""
        import asyncio
        from pathlib import Path
        import pytest
        from cli import compile_process
        from processes import profiles
        from processes.confinement import confine
        from runtime.compile import Compiler
        from runtime.compile_answers import CompileRefused
        from tests.support.guests import wat
        spins = wat('(module (memory (export "memory") 1) (func $s (loop $l (br $l))) (start $s))')
        confine(profiles.control(Path({str(ROOT)!r})), "require")
        async def run():
            compiler = Compiler(wall_s=0.7, argv=compile_process.argv("require"))
            with pytest.raises(CompileRefused, match="longer than 0.7 s"):
                await compiler.compile(spins, 1 << 20)
        asyncio.run(run())
        """
    )
