"""A database's URL: what is taken, what is refused and why, and that no password is ever shown."""

from __future__ import annotations

import ssl

import pytest

from storage.postgres.address import DatabaseAddress, InvalidDatabaseUrl, parse_database_url
from storage.postgres.connection import tls_context


@pytest.mark.parametrize(
    ("url", "address"),
    [
        (
            "postgresql://me@127.0.0.1/here",
            DatabaseAddress("127.0.0.1", 5432, "here", "me", "disable"),
        ),
        (
            "postgres://me@[::1]:6000/here",
            DatabaseAddress("::1", 6000, "here", "me", "disable"),
        ),
        (  # anything but loopback must show a certificate for its name
            "postgresql://me@db.example/a%20b",
            DatabaseAddress("db.example", 5432, "a b", "me", "verify-full"),
        ),
        (
            "postgresql://me@10.0.0.1/here?sslmode=require&pgbouncer=true",
            DatabaseAddress("10.0.0.1", 5432, "here", "me", "require", pooled=True),
        ),
    ],
)
def test_what_is_taken(url: str, address: DatabaseAddress) -> None:
    assert parse_database_url(url) == address


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("mysql://me@h/d", "postgresql://"),
        ("postgresql://me:sesame@h/d", "password"),
        ("postgresql:///d", "host"),
        ("postgresql://me@%2Fvar%2Frun/d", "host"),  # a socket of the file system
        ("postgresql://h/d", "user"),
        ("postgresql://me@h", "database"),
        ("postgresql://me@h/a/b", "database"),
        ("postgresql://me@h:0/d", "port"),
        ("postgresql://me@h:99999/d", "URL"),
        ("postgresql://me@h/d?sslmode=prefer", "sslmode"),
        ("postgresql://me@h/d?options=-c%20x", "options"),
        ("postgresql://me@h/d?pgbouncer=1", "pgbouncer"),
    ],
)
def test_what_is_refused_and_why(url: str, why: str) -> None:
    with pytest.raises(InvalidDatabaseUrl, match=why) as caught:
        parse_database_url(url)
    assert "sesame" not in str(caught.value)


def test_password_is_in_no_text_of_an_address() -> None:
    address = parse_database_url("postgresql://me@db.example/d").with_password("sesame")
    assert address.password == "sesame"
    assert "sesame" not in f"{address} {address!r}"


@pytest.mark.parametrize(
    ("mode", "verified", "named"),
    [
        ("require", ssl.CERT_NONE, False),
        ("verify-ca", ssl.CERT_REQUIRED, False),
        ("verify-full", ssl.CERT_REQUIRED, True),
    ],
)
def test_what_a_mode_verifies(mode: str, verified: ssl.VerifyMode, named: bool) -> None:
    context = tls_context(DatabaseAddress("h", 5432, "d", "me", mode))
    assert isinstance(context, ssl.SSLContext)
    assert (context.verify_mode, context.check_hostname) == (verified, named)


def test_disabled_is_in_the_clear() -> None:
    assert tls_context(DatabaseAddress("h", 5432, "d", "me", "disable")) is False
