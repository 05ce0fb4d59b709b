"""The contract: every operation that a guest can ask for, with its arguments, result, errors and limits.

`OPERATIONS` is what the runtime serves, through either ABI; `REFERENCE` says the same to a reader, with
what WASI calls it, and is what docs/bindings.md is made from. A row is in a table of
bindings.contract, or the operation does not exist.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from bindings.contract.cache import CACHE
from bindings.contract.computing import COMPRESSION, CRYPTO
from bindings.contract.d1 import D1
from bindings.contract.kv import KV
from bindings.contract.notes import OperationNotes, Rows
from bindings.contract.platform import ANALYTICS, RATE_LIMITS, SECRETS
from bindings.contract.queues import QUEUES
from bindings.contract.runtime import RUNTIME_OPERATIONS
from bindings.contract.web import CALLS, FETCH
from model.capabilities import Operation, OperationTable

_ROWS: Final[Rows] = (
    *FETCH,
    *KV,
    *QUEUES,
    *D1,
    *SECRETS,
    *CACHE,
    *RATE_LIMITS,
    *ANALYTICS,
    *CALLS,
    *CRYPTO,
    *COMPRESSION,
)

OPERATIONS: Final[OperationTable] = MappingProxyType(
    {notes.name: Operation(notes.name, notes.binding, notes.subrequest, run) for notes, run in _ROWS}
)

REFERENCE: Final[tuple[OperationNotes, ...]] = (*(notes for notes, _ in _ROWS), *RUNTIME_OPERATIONS)
