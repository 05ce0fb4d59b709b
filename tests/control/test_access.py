"""Nobody is answered without a token, under a name that is not the listener's, or from another site's page."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from control.host_check import HostRules, Refusal
from storage.failures import StorageLost
from storage.token_store import TokenStore
from tests.control.support import ACCOUNT, Host, ok, refused

LOOPBACK = HostRules.of_listener("127.0.0.1", 8788)


@pytest.mark.parametrize(
    ("rules", "host", "right"),
    [
        (LOOPBACK, b"127.0.0.1:8788", True),
        (LOOPBACK, b"localhost:8788", True),
        (LOOPBACK, b"LOCALHOST.:8788", True),
        (LOOPBACK, b"[::1]:8788", True),
        (LOOPBACK, b"127.0.0.1", False),  # port 80 is not this listener
        (LOOPBACK, b"127.0.0.1:8789", False),
        (LOOPBACK, b"evil.example:8788", False),  # rebound to 127.0.0.1
        (LOOPBACK, b"localhost.evil.example:8788", False),
        (LOOPBACK, b"127.0.0.2:8788", False),
        (LOOPBACK, b"2130706433:8788", False),
        (LOOPBACK, b"", False),
        (LOOPBACK, b"a b", False),
        (HostRules.of_listener("127.0.0.1", 80), b"localhost", True),
        (HostRules.of_listener("0.0.0.0", 8788), b"localhost:8788", True),
        (HostRules.of_listener("0.0.0.0", 8788), b"10.0.0.7:8788", False),
        (HostRules.of_listener("10.0.0.7", 8788), b"10.0.0.7:8788", True),
        (HostRules.of_listener("10.0.0.7", 8788), b"localhost:8788", False),
        (HostRules.of_listener("::", 8788), b"[::1]:8788", True),
        (HostRules.of_listener("0.0.0.0", 8788, ["api.example.com"]), b"api.example.com", True),
        (HostRules.of_listener("0.0.0.0", 8788, ["api.example.com"]), b"www.example.com", False),
    ],
)
def test_only_the_listeners_own_names_are_right(rules: HostRules, host: bytes, right: bool) -> None:
    assert rules.check([host], []) is (None if right else Refusal.HOST)


@pytest.mark.parametrize(
    ("origin", "right"),
    [
        (b"http://127.0.0.1:8788", True),
        (b"http://localhost:8788", True),
        (b"http://localhost:3000", False),
        (b"https://localhost", False),
        (b"http://evil.example:8788", False),
        (b"null", False),
        (b"", False),
        (b"file://", False),
        (b"ftp://localhost:8788", False),
    ],
)
def test_only_the_listeners_own_origin_is_right(origin: bytes, right: bool) -> None:
    assert LOOPBACK.check([b"localhost:8788"], [origin]) is (None if right else Refusal.ORIGIN)


def test_one_host_header_is_right() -> None:
    assert LOOPBACK.check([], []) is Refusal.HOST
    assert LOOPBACK.check([b"localhost:8788"] * 2, []) is Refusal.HOST


async def test_a_rebound_name_is_refused_before_its_token_is_looked_at(host: Host) -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/nothing", f"{ACCOUNT}/queues"):
        refused(await host.api.get(path, headers={"host": "evil.example:8788"}), 421, 20000)
        refused(await host.api.get(path, headers={"origin": "http://evil.example"}), 403, 20000)
    ok(await host.api.get(f"{ACCOUNT}/queues", headers={"origin": "http://localhost:8788"}))


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, 9106),
        ("", 9106),
        ("Bearer", 9106),
        ("Bearer  ", 9106),
        ("Basic YTpi", 9106),
        ("Bearer wrong", 10000),
        ("Bearer " + "x" * 2_000, 10000),
        ("Bearer \xff", 10000),
    ],
)
async def test_no_token_or_a_wrong_one_is_401(host: Host, header: str | None, code: int) -> None:
    client = host.client()
    headers = {} if header is None else {"authorization": header.encode("latin-1")}
    for path in (f"{ACCOUNT}/queues", "/metrics", "/nothing"):
        response = await client.get(path, headers=headers)  # type: ignore[arg-type]
        message = refused(response, 401, code)
        assert response.headers["www-authenticate"] == "Bearer"
        assert "wrong" not in message


async def test_health_is_open(host: Host) -> None:
    client = host.client()
    assert ok(await client.get("/healthz")) == {"status": "ok"}
    assert ok(await client.get("/readyz")) == {"status": "ready"}
    host.reasons = ["draining"]
    response = await client.get("/readyz")
    assert "draining" in refused(response, 503, 10002)
    assert response.headers["retry-after"] == "1"
    assert ok(await client.get("/healthz")) == {"status": "ok"}


async def test_lost_storage_is_not_ready(host: Host) -> None:
    (host.folder / "control.db").unlink()
    assert "storage: " in refused(await host.client().get("/readyz"), 503, 10002)


async def test_who_a_token_is(host: Host) -> None:
    shown = ok(await host.api.get("/client/v4/user/tokens/verify"))
    assert shown["status"] == "active"
    assert ok(await host.api.get("/client/v4/accounts"))[0]["id"] == "default"
    assert ok(await host.api.get("/client/v4/accounts?page=2")) == []


async def test_a_local_token_opens_what_the_admins_does(host: Host) -> None:
    token = host.tokens.create_local_token("laptop")
    client = host.client({"authorization": f"bearer {token}"})
    assert ok(await client.get("/client/v4/user/tokens/verify"))["name"] == "laptop"


async def test_a_token_without_the_scope_is_403(host: Host) -> None:
    token = host.tokens.create_local_token("reader", ["read"])
    client = host.client({"authorization": f"Bearer {token}"})
    refused(await client.get(f"{ACCOUNT}/queues"), 403, 10000)


def test_the_admin_token_is_written_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "admin-token"
    tokens = TokenStore.open(tmp_path / "tokens.db")
    token = tokens.ensure_admin_token(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().strip() == token
    assert tokens.ensure_admin_token(path) == token
    assert token.encode() not in (tmp_path / "tokens.db").read_bytes()
    tokens.close()
    again = TokenStore.open(tmp_path / "tokens.db")
    assert again.verify(token) is not None
    assert again.verify(token[:-1]) is None
    # A new file ends the old token.
    path.unlink()
    new = again.ensure_admin_token(path)
    assert again.verify(token) is None
    assert again.verify(new) is not None
    again.close()


def test_a_lost_token_database_takes_the_files_token_again(tmp_path: Path) -> None:
    path = tmp_path / "admin-token"
    tokens = TokenStore.open(tmp_path / "one.db")
    token = tokens.ensure_admin_token(path)
    tokens.close()
    other = TokenStore.open(tmp_path / "two.db")
    assert other.ensure_admin_token(path) == token
    assert other.verify(token) is not None
    path.write_text("short")
    with pytest.raises(StorageLost, match="holds no token"):
        other.ensure_admin_token(path)
    other.close()
