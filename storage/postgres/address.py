"""`postgresql://…` → where a database is and how it is reached; pure.

A password is never part of it on its way through settings: command lines are everyone's to read. Sockets of
the file system are refused: a confined worker process may make none (`processes.profiles` says why).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

DEFAULT_PORT: Final = 5432
#: As libpq has them. `verify-full` is what a network needs; `prefer` and `allow` promise nothing and are left out.
SSL_MODES: Final = ("disable", "require", "verify-ca", "verify-full")
_OPTIONS: Final = ("sslmode", "sslrootcert", "pgbouncer")
_NAME: Final = re.compile(r"[^\x00/]{1,63}")


class InvalidDatabaseUrl(ValueError):
    """The message says what is right; it never holds the password."""


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """A server, a database in it, and as whom."""

    host: str
    port: int
    database: str
    user: str
    #: One of SSL_MODES.
    ssl_mode: str = "disable"
    #: PEM of the authorities that a server's certificate may be of; None: the system's.
    ssl_root_cert: Path | None = None
    #: A pooler stands between that lends a connection for a transaction: no LISTEN, no prepared statements.
    pooled: bool = False
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        """Without the password: for logs and messages."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"postgresql://{self.user}@{host}:{self.port}/{self.database}"

    def with_password(self, password: str | None) -> DatabaseAddress:
        return replace(self, password=password)


def parse_database_url(text: str) -> DatabaseAddress:
    """`postgresql://USER@HOST[:PORT]/DATABASE[?sslmode=…&sslrootcert=…&pgbouncer=true]`.

    Raises InvalidDatabaseUrl. Without `sslmode`, a server on a loopback address is spoken to in the clear, and
    any other must show a certificate for its name.
    """
    try:
        url = urlsplit(text)
        port = DEFAULT_PORT if url.port is None else url.port
    except ValueError:
        raise InvalidDatabaseUrl(
            "no URL such as postgresql://tenantry@db.example.com:5432/tenantry"
        ) from None
    if url.scheme not in ("postgresql", "postgres"):
        raise InvalidDatabaseUrl("a database is postgresql://USER@HOST[:PORT]/DATABASE")
    if url.password is not None:
        raise InvalidDatabaseUrl(
            "no password in the URL: a command line is everyone's to read; put it into a file and name that"
            " with --database-password-file, or into TENANTRY_DATABASE_PASSWORD"
        )
    host = unquote(url.hostname or "")
    if not host or host.startswith(("/", "@")):
        raise InvalidDatabaseUrl(
            "a host is missing (sockets of the file system are not used: worker processes may open none)"
        )
    if port == 0:
        raise InvalidDatabaseUrl("a port is 1 to 65535")
    user, database = unquote(url.username or ""), unquote(url.path.removeprefix("/"))
    for what, name in (("user", user), ("database", database)):
        if not _NAME.fullmatch(name):
            raise InvalidDatabaseUrl(f"the {what} is missing: postgresql://USER@HOST[:PORT]/DATABASE")
    options = dict(parse_qsl(url.query, keep_blank_values=True))
    for option in options:
        if option not in _OPTIONS:
            raise InvalidDatabaseUrl(f"?{option}: the options are {', '.join(_OPTIONS)}")
    mode = options.get("sslmode", "disable" if _is_loopback(host) else "verify-full")
    if mode not in SSL_MODES:
        raise InvalidDatabaseUrl(f"sslmode={mode}: {', '.join(SSL_MODES)} are right")
    pooled = options.get("pgbouncer", "false")
    if pooled not in ("true", "false"):
        raise InvalidDatabaseUrl("pgbouncer: true or false")
    root = options.get("sslrootcert")
    return DatabaseAddress(
        host=host,
        port=port,
        database=database,
        user=user,
        ssl_mode=mode,
        ssl_root_cert=Path(root).absolute() if root else None,
        pooled=pooled == "true",
    )


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")
