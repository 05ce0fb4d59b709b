"""SQLite's exceptions → OperationError, with Cloudflare's prefixes; what is the host's own fault → StorageError."""

from __future__ import annotations

from typing import Final

import apsw

from model.errors import OperationError
from model.errors import OperationErrorCode as Code
from storage.d1.functions import FunctionRefused, GuardEnded
from storage.d1.guard import Guard, Stopped
from storage.d1.limits import D1Limits
from storage.failures import StorageBusy, StorageError, StorageLost, StorageReadOnly

#: What our callbacks raise goes through SQLite and comes out as it is.
CAUGHT: Final = (apsw.Error, FunctionRefused, GuardEnded, UnicodeError, OverflowError)

_LOST: Final = (apsw.IOError, apsw.CorruptError, apsw.NotADBError, apsw.CantOpenError)


def sql_error(code: Code, message: str, suffix: str = "") -> OperationError:
    """`D1_ERROR: <message>: <suffix>`."""
    text = message if len(message) <= 1000 else f"{message[:1000]}…"
    return OperationError(code, f"D1_ERROR: {text}{f': {suffix}' if suffix else ''}")


def missing(database_id: str) -> OperationError:
    return sql_error(Code.NOT_FOUND, f"there is no database {database_id}: it was deleted")


def translate(
    error: BaseException, guard: Guard, why_denied: str, limits: D1Limits
) -> OperationError | StorageError:
    """Pure. `why_denied` is the sandbox's word, "" when it denied nothing."""
    text = str(error)
    if guard.why is not None and not isinstance(error, apsw.ConstraintError):
        return _stopped(guard.why, limits)
    match error:
        case FunctionRefused():
            return sql_error(Code.LIMIT_EXCEEDED, text)
        case UnicodeError():
            return sql_error(
                Code.INVALID_ARGUMENT, "a text is no UTF-8; CAST it AS BLOB to read it", "SQLITE_MISMATCH"
            )
        case OverflowError():
            return sql_error(Code.INVALID_ARGUMENT, "an integer beyond 64 bits")
        case apsw.BindingsError():
            return sql_error(Code.INVALID_ARGUMENT, "Wrong number of parameter bindings for SQL query.")
        case apsw.AuthError():
            return sql_error(Code.DENIED, f"not authorized: {why_denied or text}", "SQLITE_AUTH")
        case apsw.ConstraintError():
            return sql_error(Code.CONFLICT, text, "SQLITE_CONSTRAINT")
        case apsw.FullError():
            return sql_error(
                Code.LIMIT_EXCEEDED,
                f"the database is full: it may have {limits.database_bytes} bytes, and the disk must have room",
                "SQLITE_FULL",
            )
        case apsw.TooBigError():
            return sql_error(Code.LIMIT_EXCEEDED, text, "SQLITE_TOOBIG")
        case apsw.NoMemError():
            return sql_error(
                Code.LIMIT_EXCEEDED, "the query needs more memory than it may have", "SQLITE_NOMEM"
            )
        case apsw.BusyError() | apsw.LockedError():
            return StorageBusy("the database is busy", detail=text)
        case apsw.ReadOnlyError():
            return StorageReadOnly("the database can only be read", detail=text)
        case _ if isinstance(error, _LOST):
            return StorageLost(
                "the database can't be read or written", detail=f"{type(error).__name__}: {text}"
            )
        case _:
            if why_denied:
                return sql_error(Code.DENIED, f"not authorized: {why_denied}", "SQLITE_AUTH")
            return sql_error(Code.INVALID_ARGUMENT, text, "SQLITE_ERROR")


def _stopped(why: Stopped, limits: D1Limits) -> OperationError:
    match why:
        case Stopped.TIME:
            return sql_error(
                Code.TIMEOUT,
                f"the query took longer than {limits.query_s:g} s ({limits.prepare_s:g} s to compile)",
                "SQLITE_INTERRUPT",
            )
        case Stopped.MEMORY:
            return sql_error(
                Code.LIMIT_EXCEEDED, "the query needs more memory than it may have", "SQLITE_NOMEM"
            )
        case Stopped.WRITTEN:
            return sql_error(
                Code.LIMIT_EXCEEDED,
                f"the query wrote more than {limits.written_bytes} bytes of log and temporary files",
                "SQLITE_FULL",
            )
        case Stopped.CANCELLED:
            return sql_error(Code.CANCELLED, "nobody waits for the query any more")
