"""A server is spoken to by TLS as its address says: only one with a certificate for its name, of an authority that is
trusted, unless less was asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import trustme

from cli.checks import State
from cli.database_check import check_database
from model.capabilities import KvEntry
from storage.failures import StorageLost
from storage.postgres.address import DatabaseAddress, parse_database_url
from storage.postgres.connection import PgDatabase
from storage.postgres.schema import PLATFORM_STREAMS, PgMigrations
from tests.support.postgres import make_cluster
from tests.support.postgres_stores import PgMachine

TLS = "SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


@dataclass(frozen=True)
class Served:
    """A server with a certificate for `localhost`."""

    address: DatabaseAddress
    #: PEM files of its authority, and of another.
    ours: Path
    others: Path

    def by(self, mode: str, host: str = "localhost", roots: Path | None = None) -> DatabaseAddress:
        return replace(self.address, host=host, ssl_mode=mode, ssl_root_cert=roots)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("authorities")
    ca, other = trustme.CA(), trustme.CA()
    ca.cert_pem.write_to_path(folder / "ours.pem")
    other.cert_pem.write_to_path(folder / "others.pem")
    cluster = make_cluster()
    try:
        cluster.stop()
        cluster.serve_tls(ca.issue_cert("localhost"))
        cluster.start()
        yield Served(cluster.new_database(), folder / "ours.pem", folder / "others.pem")
    finally:
        cluster.remove()


async def asked(address: DatabaseAddress) -> tuple[bool, str | None]:
    database = PgDatabase(address)
    try:
        rows = await database.fetch(TLS)
        return bool(rows[0][0]), rows[0][1]
    finally:
        await database.close()


@pytest.mark.parametrize("mode", ["verify-full", "verify-ca", "require"])
async def test_a_server_of_a_trusted_authority_is_spoken_to_by_tls(served: Served, mode: str) -> None:
    assert await asked(served.by(mode, roots=served.ours)) == (True, "TLSv1.3")


async def test_who_asks_for_no_more_than_encryption_takes_whoever_answers(served: Served) -> None:
    assert await asked(served.by("require")) == (True, "TLSv1.3")
    assert await asked(served.by("disable")) == (False, None)


@pytest.mark.parametrize("mode", ["verify-full", "verify-ca", "require"])
async def test_another_authority_s_certificate_is_refused(served: Served, mode: str) -> None:
    """`require` with a file of authorities holds it to them, as libpq does."""
    with pytest.raises(StorageLost, match="certificate is not one to trust") as caught:
        await asked(served.by(mode, roots=served.others))
    assert "self-signed certificate" in caught.value.detail or "unable to get" in caught.value.detail


@pytest.mark.parametrize("mode", ["verify-full", "verify-ca"])
async def test_the_system_s_authorities_are_those_of_who_names_none(served: Served, mode: str) -> None:
    with pytest.raises(StorageLost, match="certificate is not one to trust"):
        await asked(served.by(mode))


async def test_a_certificate_of_another_name_is_refused_unless_the_authority_is_enough(
    served: Served,
) -> None:
    """It is for `localhost`; by its address, the server has another name."""
    with pytest.raises(StorageLost, match="certificate is not one to trust") as caught:
        await asked(served.by("verify-full", "127.0.0.1", served.ours))
    assert "IP address mismatch" in caught.value.detail
    assert await asked(served.by("verify-ca", "127.0.0.1", served.ours)) == (True, "TLSv1.3")


async def test_a_server_without_tls_is_not_spoken_to_in_the_clear(
    served: Served, database_address: DatabaseAddress
) -> None:
    with pytest.raises(StorageLost):
        await asked(replace(database_address, host="localhost", ssl_mode="require"))


async def test_a_file_of_authorities_that_is_not_there_is_named(served: Served, tmp_path: Path) -> None:
    with pytest.raises(StorageLost) as caught:
        await asked(served.by("verify-full", roots=tmp_path / "gone.pem"))
    assert "No such file" in caught.value.detail


async def test_stores_do_all_their_work_by_tls(served: Served) -> None:
    url = f"postgresql://{served.address.user}@localhost:{served.address.port}/{served.address.database}"
    address = parse_database_url(f"{url}?sslmode=verify-full&sslrootcert={served.ours}").with_password(
        served.address.password
    )
    database = PgDatabase(address)
    await PgMigrations.load(*PLATFORM_STREAMS).apply(database)
    async with PgMachine(address) as machine, PgMachine(address) as other:
        await machine.kv.put("n", "key", KvEntry(b"value"))
        assert await other.kv.get_entry("n", "key") == KvEntry(b"value")
        clear = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE NOT ssl AND datname = $1"
        assert (await database.fetch(clear, address.database))[0][0] == 0
    await database.close()


def test_what_the_doctor_says(served: Served) -> None:
    (well,) = check_database(served.by("verify-full", roots=served.ours))
    assert well.state is State.OK
    (refused,) = check_database(served.by("verify-full", roots=served.others))
    assert (refused.state, "certificate is not one to trust" in refused.detail) == (State.FAILED, True)
