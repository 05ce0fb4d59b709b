"""API tokens, hashed, in a file that only control opens."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from model.clock import unix_ms
from storage.control_records import new_id
from storage.database import Database, Replication, Transaction
from storage.failures import StorageLost
from storage.folders import sync_folder
from storage.migrations import Migrations

#: May do everything; the only scope there is so far.
ADMIN_SCOPE: Final = "admin"
#: The row of the token in DATA/admin-token: there is one, so a new file ends the old token.
_ADMIN_ID: Final = "admin"
_INSERT: Final = "INSERT OR REPLACE INTO tokens VALUES (?, ?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """A token, without what it is."""

    id: str
    name: str
    scopes: frozenset[str]
    created_at_ms: int


class TokenStore:
    def __init__(self, database: Database, now_ms: Callable[[], int] = unix_ms) -> None:
        self._database = database
        self._now_ms = now_ms

    @staticmethod
    def open(path: Path, replication: Replication | None = None) -> TokenStore:
        """`path` is `DATA/tokens.db`. `replication`: it is one of several machines'."""
        return TokenStore(Database.open(path, Migrations.load("tokens"), replication=replication))

    def verify(self, token: str) -> TokenRecord | None:
        """Whose token this is. What is compared are hashes of it, so that time tells nothing of a token."""
        digest = _digest(token)
        rows = self._database.read(
            "SELECT id, hash, name, scopes, created_at_ms FROM tokens WHERE hash = ?", (digest,)
        )
        if not rows or not hmac.compare_digest(rows[0][1], digest):
            return None
        token_id, _, name, scopes, created_at_ms = rows[0]
        return TokenRecord(token_id, name, frozenset(json.loads(scopes)), created_at_ms)

    def create_local_token(self, name: str = "local", scopes: Sequence[str] = (ADMIN_SCOPE,)) -> str:
        """A new token, for who may read the data folder. Blocks; works beside a running control."""
        token = _new_token()
        self._insert(new_id(), token, name, scopes)
        return token

    def ensure_admin_token(self, path: Path, machine: str = "") -> str:
        """The admin token that `path` (DATA/admin-token) holds; made, with mode 0600, at the first start. Each
        `machine` of several has one of its own.

        A file without its row (tokens.db was lost) gets its row back. Raises StorageLost when the file can't
        be read or holds no token.
        """
        try:
            # The row first needs the token, the token must not be lost: the file is whole before the row is.
            token = _read_token(path) if path.exists() else _write_token(path, _new_token())
        except OSError as error:
            raise StorageLost("the admin token's file can't be used", detail=f"{path}: {error}") from error
        if self.verify(token) is None:
            token_id = f"{_ADMIN_ID}-{machine}" if machine else _ADMIN_ID
            self._insert(token_id, token, "admin", (ADMIN_SCOPE,))
        return token

    def close(self) -> None:
        self._database.close()

    def _insert(self, token_id: str, token: str, name: str, scopes: Sequence[str]) -> None:
        row = (token_id, _digest(token), name, json.dumps(list(scopes)), self._now_ms())

        def work(tx: Transaction) -> None:
            tx.execute(_INSERT, row)

        self._database.write_blocking(work)


def _new_token() -> str:
    return secrets.token_urlsafe(32)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _read_token(path: Path) -> str:
    token = path.read_text("ascii", "replace").strip()
    if len(token) < 32:
        raise StorageLost(
            "the admin token's file holds no token; remove it to get a new one", detail=str(path)
        )
    return token


def _write_token(path: Path, token: str) -> str:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(token + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_folder(path.parent)
    return token
