"""What one database, one statement and one process may use. Cloudflare's D1 is the source where it has a figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: Of a statement: bytes of its text, parameters, columns of a table or a result.
SQL_BYTES: Final = 100_000
PARAMETERS: Final = 100
COLUMNS: Final = 100
#: A text, a blob, or a row.
VALUE_BYTES: Final = 2_000_000
LIKE_PATTERN_BYTES: Final = 50
FUNCTION_ARGUMENTS: Final = 32
#: Less than SQLite's own: what a tenant nests is recursion on our stack, or code that nobody can interrupt.
EXPRESSION_DEPTH: Final = 100
COMPOUND_SELECTS: Final = 50
TRIGGER_DEPTH: Final = 10
PROGRAM_STEPS: Final = 250_000
#: Statements of one batch.
BATCH_STATEMENTS: Final = 1_000
#: A reply of the module ABI has at most 1 MiB; what is around the rows takes the rest.
RESULT_BYTES: Final = 900_000
RESULT_ROWS: Final = 50_000
#: Each connection to a database parses its schema, and keeps it.
SCHEMA_BYTES: Final = 4 << 20

PAGE_BYTES: Final = 4096
#: Page cache of a connection, in KiB.
CACHE_KIB: Final = 1024
WAL_LIMIT_BYTES: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class D1Limits:
    """`query_s`: of one request, from when it begins. `prepare_s`: of compiling one statement. `written_bytes`: log
    and temporary files that one request makes. `memory_bytes`: all that SQLite holds in this process.
    """

    database_bytes: int = 10_000_000_000
    query_s: float = 30.0
    prepare_s: float = 2.0
    written_bytes: int = 4 << 30
    memory_bytes: int = 256 << 20
    #: Where SQLite itself refuses to take more, whoever asks.
    hard_memory_bytes: int = 1 << 30
