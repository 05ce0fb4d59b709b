"""Which statements may run on the event loop: small reads that a thread has run before, and found to be small.

A hop to a thread and back costs ten times what a point query does. But the loop is everybody's, and the SQL hostile.
So on the loop nothing is compiled, no value is above 64 KiB, no function runs but those named here, and what takes
more than a millisecond of CPU time is ended after 50 more steps, and run again in a thread: it only reads. It stays
off the loop then for a while.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Final

import apsw

from model.sql import SqlStatement
from storage.d1.sql import first_words

#: Statements of one connection that may; no more than it keeps compiled.
MOST: Final = 24
#: What a statement may have taken in a thread, in CPU time, and how long it may be.
QUICK_S: Final = 0.000_5
QUICK_SQL_BYTES: Final = 10_000
#: How many steps of SQLite's go by on the loop between two looks at the time (`guard.ON_LOOP_S`).
ON_LOOP_STEPS: Final = 50
ON_LOOP_VALUE_BYTES: Final = 64 << 10
#: How long one that took longer is kept off.
_BARRED_S: Final = 10.0
_MOST_BARRED: Final = 256

#: SQLite's steps (https://sqlite.org/opcode.html) that read rows and compute with them; those that insert and delete
#: do it in tables of the statement's own, since it only reads. Not here: what calls a virtual table, or goes through a
#: whole table in one step (Count).
_STEPS = """
Add Affinity AggFinal AggInverse AggStep AggStep1 AggValue And BeginSubrtn BitAnd BitNot BitOr Blob Cast Close CollSeq
Column ColumnsUsed Compare Concat Copy CursorHint DecrJumpZero DeferredSeek Delete Divide ElseEq EndCoroutine Eq Explain
Filter FilterAdd FinishSeek Found Function Ge Gosub Goto Gt Halt HaltIfNull IdxGE IdxGT IdxInsert IdxLE IdxLT IdxRowid
If IfEmpty IfNoHope IfNot IfNotZero IfNullRow IfPos IfSizeBetween Init InitCoroutine Insert Int64 IntCopy Integer
IsNull IsTrue IsType Jump Last Le Lt MakeRecord Move MustBeInt Multiply Ne Next NoConflict Noop Not NotExists NotFound
NotNull Null NullRow Offset OffsetLimit Once OpenAutoindex OpenDup OpenEphemeral OpenPseudo OpenRead Or Permutation
Prev PureFunc Real RealAffinity Remainder ReopenIdx ResetSorter ResultRow Return Rewind Rowid SCopy SeekEnd SeekGE
SeekGT SeekHit SeekLE SeekLT SeekRowid SeekScan Sequence SequenceTest ShiftLeft ShiftRight SoftNull Sort SorterCompare
SorterData SorterInsert SorterNext SorterOpen SorterSort String String8 Subtract Trace Transaction Variable Yield
ZeroOrNull
"""
_READS: Final = frozenset(_STEPS.split())
_CALLS: Final = frozenset(
    {"Function", "PureFunc", "AggStep", "AggStep1", "AggFinal", "AggValue", "AggInverse"}
)
#: They take no longer than copying their arguments does.
_FUNCTION_NAMES = """
abs coalesce count date datetime ifnull iif length lower max min nullif round substr substring sum total typeof
unixepoch upper
"""
_FUNCTIONS: Final = frozenset(_FUNCTION_NAMES.split())
_BEGINNINGS: Final = (("SELECT",), ("WITH",), ("VALUES",))


class QuickReads:
    """Of one connection."""

    def __init__(self) -> None:
        self._quick: OrderedDict[str, None] = OrderedDict()
        self._barred: OrderedDict[str, float] = OrderedDict()

    def __contains__(self, sql: str) -> bool:
        return sql in self._quick

    def ran(self, connection: apsw.Connection, statement: SqlStatement, took_s: float) -> None:
        """A thread has run it, and it only read. Within the sandbox: `EXPLAIN` of it is the tenant's statement, too."""
        sql = statement.sql
        if took_s > QUICK_S or sql in self._quick or self._is_barred(sql):
            return
        if not is_quick(connection, statement):
            self.bar(sql)
            return
        self._quick[sql] = None
        if len(self._quick) > MOST:
            self._quick.popitem(last=False)

    def forget(self, sql: str) -> None:
        """It did not come to its end on the loop; a thread may find it quick again."""
        self._quick.pop(sql, None)

    def bar(self, sql: str) -> None:
        self._quick.pop(sql, None)
        self._barred[sql] = time.monotonic() + _BARRED_S
        if len(self._barred) > _MOST_BARRED:
            self._barred.popitem(last=False)

    def _is_barred(self, sql: str) -> bool:
        until = self._barred.get(sql)
        if until is None:
            return False
        if time.monotonic() < until:
            return True
        del self._barred[sql]
        return False


def is_quick(connection: apsw.Connection, statement: SqlStatement) -> bool:
    """Whether all that the compiled statement does is in this file's lists."""
    if len(statement.sql) > QUICK_SQL_BYTES or first_words(statement.sql, 1) not in _BEGINNINGS:
        return False
    for row in connection.execute(f"EXPLAIN {statement.sql}", statement.params, can_cache=False):
        step, given = row[1], row[5]
        if step not in _READS:
            return False
        if step in _CALLS and str(given).partition("(")[0].lower() not in _FUNCTIONS:
            return False
    return True
