"""What asyncpg raises → `storage.failures`: the one place that knows its exceptions."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import asyncpg

from storage.failures import (
    ConstraintViolated,
    DiskFull,
    SchemaMismatch,
    StorageBusy,
    StorageClosed,
    StorageError,
    StorageLost,
    StorageReadOnly,
    ValueTooLarge,
)

#: The first that fits counts.
_FAMILIES: Final[tuple[tuple[type[BaseException], type[StorageError], str], ...]] = (
    (asyncpg.DiskFullError, DiskFull, "the database is full"),
    (asyncpg.ReadOnlySQLTransactionError, StorageReadOnly, "the database can only be read"),
    (asyncpg.InsufficientPrivilegeError, StorageReadOnly, "the database refuses what its user may not do"),
    (
        asyncpg.InvalidAuthorizationSpecificationError,
        StorageLost,
        "the database refuses the user or password",
    ),
    (asyncpg.InvalidCatalogNameError, StorageLost, "the server has no such database"),
    (asyncpg.TooManyConnectionsError, StorageBusy, "the database has no connection free"),
    (asyncpg.LockNotAvailableError, StorageBusy, "the database is busy"),
    (asyncpg.DeadlockDetectedError, StorageBusy, "the database is busy"),
    (asyncpg.SerializationError, StorageBusy, "the database is busy"),
    (asyncpg.QueryCanceledError, StorageBusy, "the database took too long"),
    (asyncpg.UndefinedTableError, SchemaMismatch, "the database lacks a table: run `tenantry migrate`"),
    (asyncpg.UndefinedColumnError, SchemaMismatch, "the database lacks a column: run `tenantry migrate`"),
    (asyncpg.ProgramLimitExceededError, ValueTooLarge, "a value is larger than the database can hold"),
    (asyncpg.OperatorInterventionError, StorageLost, "the database is shutting down or starting"),
    (asyncpg.PostgresConnectionError, StorageLost, "the connection to the database was lost"),
    (asyncpg.InsufficientResourcesError, StorageBusy, "the database is short of resources"),
    (asyncpg.InternalClientError, StorageLost, "the connection to the database was lost"),
    (TimeoutError, StorageLost, "the database does not answer"),
    (ssl.SSLCertVerificationError, StorageLost, "the database's certificate is not one to trust"),
    # Besides what the network does: all other of ssl.SSLError, too.
    (OSError, StorageLost, "the database can't be reached"),
    (asyncpg.InterfaceError, StorageLost, "the connection to the database was lost"),
)

_CONSTRAINTS: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (asyncpg.UniqueViolationError, "unique"),
    (asyncpg.ForeignKeyViolationError, "foreign_key"),
    (asyncpg.CheckViolationError, "check"),
    (asyncpg.NotNullViolationError, "not_null"),
)

FOREIGN: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)


def translate(error: BaseException, where: str, *, closed: bool = False) -> StorageError:
    """Pure. `where`: the server, for the detail that operators see."""
    if closed:
        return StorageClosed("the database is closed")
    detail = f"{where}: {type(error).__name__}: {error}"
    if isinstance(error, asyncpg.IntegrityConstraintViolationError):
        violated = ConstraintViolated("a row breaks a rule of the schema", detail=detail)
        violated.kind = next((kind for family, kind in _CONSTRAINTS if isinstance(error, family)), "other")
        return violated
    for family, failure, message in _FAMILIES:
        if isinstance(error, family):
            return failure(message, detail=detail)
    return StorageError("the database refused a statement", detail=detail)


@contextmanager
def translated(where: str) -> Iterator[None]:
    try:
        yield
    except FOREIGN as error:
        raise translate(error, where) from error
