"""SQL functions that in SQLite itself can run for minutes on a value of 2 MB, with nobody able to end them.

Measured, on values that the limits allow: `trim(x, y)` 61 s for 200 and 100 KB, `instr(x, y)` 105 s for 2 and 1 MB,
`unhex(x, y)` 23 s, `json_patch` 6 s for 260 KB each: they compare each with each. Ours refuse such sizes, and answer
as SQLite's own do, since those answer below them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import apsw

from storage.d1.guard import Guard
from storage.d1.limits import VALUE_BYTES
from storage.transaction import SqlValue

#: Product of the lengths up to which SQLite's own answers: 0.1 s at the worst.
_MOST_WORK: Final = 30_000_000
#: name → (arguments, the two whose lengths are multiplied).
_PAIRWISE: Final = {
    "trim": (2, 0, 1),
    "ltrim": (2, 0, 1),
    "rtrim": (2, 0, 1),
    "unhex": (2, 0, 1),
    "json_patch": (2, 0, 1),
    "jsonb_patch": (2, 0, 1),
}
_FLAGS: Final = apsw.SQLITE_INNOCUOUS


class FunctionRefused(Exception):
    """The message is for the tenant."""


class GuardEnded(Exception):
    """The guard ended the statement while one of our functions ran."""


def install(connection: apsw.Connection, guard: Guard) -> None:
    """In the place of SQLite's own of the same name and number of arguments."""
    plain = apsw.Connection(":memory:")
    for name, (count, left, right) in _PAIRWISE.items():
        marks = ",".join("?" * count)
        below = _below(plain, f"SELECT {name}({marks})")
        _register(connection, name, partial(_pairwise, guard, name, below, left, right), count)
    instr_below = _below(plain, "SELECT instr(?,?)")
    replace_below = _below(plain, "SELECT replace(?,?,?)")
    _register(connection, "instr", partial(_instr, guard, instr_below), 2)
    _register(connection, "replace", partial(_replace, guard, replace_below), 3)


_Below = Callable[[tuple[SqlValue, ...]], SqlValue]


def _register(connection: apsw.Connection, name: str, function: Callable[..., SqlValue], count: int) -> None:
    connection.create_scalar_function(name, function, count, deterministic=True, flags=_FLAGS)


def _below(plain: apsw.Connection, sql: str) -> _Below:
    cursor = plain.cursor()
    return lambda args: cursor.execute(sql, args).fetchall()[0][0]


def _pairwise(guard: Guard, name: str, below: _Below, left: int, right: int, *args: SqlValue) -> SqlValue:
    _check(guard, name, args[left], args[right])
    return below(args)


def _instr(guard: Guard, below: _Below, *args: SqlValue) -> SqlValue:
    text, wanted = args
    # Python's search is linear.
    if isinstance(text, str) and isinstance(wanted, str):
        _look(guard)
        return text.find(wanted) + 1
    if isinstance(text, bytes) and isinstance(wanted, bytes):
        _look(guard)
        return text.find(wanted) + 1
    _check(guard, "instr", text, wanted)
    return below(args)


def _replace(guard: Guard, below: _Below, *args: SqlValue) -> SqlValue:
    text, old, new = args
    if isinstance(text, str) and isinstance(old, str) and isinstance(new, str) and old:
        _look(guard)
        if len(text) + text.count(old) * (len(new) - len(old)) > VALUE_BYTES:
            raise FunctionRefused(f"replace: its result is above {VALUE_BYTES} bytes")
        return text.replace(old, new)
    _check(guard, "replace", text, old)
    return below(args)


def _check(guard: Guard, name: str, left: SqlValue, right: SqlValue) -> None:
    _look(guard)
    if _size(left) * _size(right) > _MOST_WORK:
        raise FunctionRefused(
            f"{name}: values of {_size(left)} and {_size(right)} bytes; the product of both may be"
            f" {_MOST_WORK} at most"
        )


def _look(guard: Guard) -> None:
    if not guard.off and guard.must_end():
        raise GuardEnded


def _size(value: SqlValue) -> int:
    return len(value) if isinstance(value, str | bytes) else 20
