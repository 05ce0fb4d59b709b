"""A PostgreSQL cluster of the tests' own: on a free loopback port, with fsync, removed at the end.

It is Debian's package (`postgresql`), run by an unprivileged user, as its server wants it. A machine without it
skips what needs it; where CI=true is set, that is an error instead.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import trustme

from demo.host import free_port
from storage.postgres.address import DatabaseAddress
from storage.postgres.connection import PgDatabase
from storage.postgres.schema import PgMigrations

PASSWORD: Final = "correct horse battery staple"
USER: Final = "tenantry"
_FOLDERS: Final = Path("/usr/lib/postgresql")
_START_S: Final = 60.0
_SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "on",
    "synchronous_commit": "on",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "log_min_messages": "fatal",
}


def programs() -> Path | None:
    """The folder of `initdb` and `postgres`: the newest of Debian's, or where the path leads."""
    versions = sorted(_FOLDERS.glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if versions:
        return versions[-1].parent
    found = shutil.which("initdb")
    return None if found is None else Path(found).resolve().parent


class Cluster:
    """`start` and `stop` as often as a test likes: the port and the data stay."""

    def __init__(self, programs: Path, **settings: str) -> None:
        self._programs = programs
        self._settings = _SETTINGS | settings
        self.folder = Path(tempfile.mkdtemp(prefix="tenantry-postgres-"))
        self._as: list[str] = ["setpriv", "--pdeathsig", "QUIT"]
        self._process: subprocess.Popen[bytes] | None = None
        #: None of the kernel's own: whoever tries to connect while the server is down could be given it.
        self.port = free_port(0)
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        if os.geteuid() == 0:
            owner = _unprivileged()
            self._as += [f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups"]
            for path in (self.folder, secret):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        self._run(
            "initdb", "--pgdata", str(self.data), "--username", USER, "--pwfile", str(secret),
            "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8",
        )  # fmt: skip

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def start(self) -> None:
        """Returns when the server takes connections."""
        settings = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *self._as,
                    str(self._programs / "postgres"),
                    "-D",
                    str(self.data),
                    "-p",
                    str(self.port),
                    *settings,
                ],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        until = time.monotonic() + _START_S
        while self._psql("postgres", "SELECT 1", check=False).returncode != 0:
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"PostgreSQL did not start: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.02)

    def serve_tls(self, certificate: trustme.LeafCert) -> None:
        """From the next start on, with this certificate; who comes without TLS is let in as before."""
        for name, content in (
            ("server.crt", b"".join(blob.bytes() for blob in certificate.cert_chain_pems)),
            ("server.key", certificate.private_key_pem.bytes()),
        ):
            path = self.data / name
            path.write_bytes(content)
            path.chmod(0o600)
            os.chown(path, self.data.stat().st_uid, self.data.stat().st_gid)
        self._settings |= {"ssl": "on"}

    @property
    def log(self) -> str:
        """What the server wrote; `log_min_messages` says how much that is."""
        return (self.folder / "log").read_text(errors="replace")

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT: connections are cut, work is undone, in order. SIGQUIT: as in a crash."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(_START_S)
            self._process = None

    def restart(self, how: signal.Signals = signal.SIGINT) -> None:
        self.stop(how)
        self.start()

    def remove(self) -> None:
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def new_database(self) -> DatabaseAddress:
        name = f"t{uuid.uuid4().hex[:16]}"
        self.sql("postgres", f"CREATE DATABASE {name}")
        return DatabaseAddress("127.0.0.1", self.port, name, USER, password=PASSWORD)

    def sql(self, database: str, statement: str) -> None:
        self._psql(database, statement, check=True)

    def rows(self, database: str, statement: str) -> list[list[str]]:
        """What a query answers, as text."""
        text = self._psql(database, statement, check=True).stdout.decode()
        return [line.split("|") for line in text.splitlines()]

    def _psql(self, database: str, statement: str, *, check: bool) -> subprocess.CompletedProcess[bytes]:
        done = subprocess.run(
            [
                str(self._programs / "psql"), "-qAtX", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1",
                "-p", str(self.port), "-U", USER, "-d", database, "-c", statement,
            ],
            env={"PGPASSWORD": PASSWORD, "PATH": os.environ["PATH"]},
            capture_output=True,
            check=False,
            timeout=_START_S,
        )  # fmt: skip
        if check and done.returncode != 0:
            raise RuntimeError(f"{statement}: {done.stderr.decode()}")
        return done

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [*self._as, str(self._programs / program), *arguments],
            cwd=self.folder, capture_output=True, check=False, timeout=_START_S,
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"{program}: {done.stderr.decode()[-2000:]}")


def make_cluster(**settings: str) -> Cluster:
    """A running one; `remove` it. Skips, or fails in CI, without PostgreSQL."""
    folder = programs()
    if folder is None:
        why = "PostgreSQL is not installed (Debian: apt-get install postgresql)"
        if os.environ.get("CI") == "true":
            raise RuntimeError(why)
        pytest.skip(why)
    cluster = Cluster(folder, **settings)
    try:
        cluster.start()
    except BaseException:
        cluster.remove()
        raise
    return cluster


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """The session's cluster: it is not to be stopped."""
    cluster = make_cluster()
    yield cluster
    cluster.remove()


@pytest.fixture
def own_postgres() -> Iterator[Cluster]:
    """A cluster of this test's own, to be stopped and started."""
    cluster = make_cluster()
    yield cluster
    cluster.remove()


@pytest.fixture
def database_address(postgres: Cluster) -> DatabaseAddress:
    """An empty database."""
    return postgres.new_database()


@pytest.fixture(scope="session")
def stores_address(postgres: Cluster) -> DatabaseAddress:
    """A database with the stores' tables, which the session's tests share: each with ids of its own."""
    address = postgres.new_database()
    # In a thread: a test that asks for it late has a loop running here.
    thread = threading.Thread(target=lambda: asyncio.run(migrate(address)))
    thread.start()
    thread.join()
    return address


async def migrate(address: DatabaseAddress) -> None:
    database = PgDatabase(address)
    try:
        await PgMigrations.load("kv", "queues").apply(database)
    finally:
        await database.close()


def _unprivileged() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("neither a user postgres nor nobody is there to run PostgreSQL, which root may not")
