"""How a row of the contract is written, and what several of them say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from model.capabilities import GuestEvent, OperationResult
from model.errors import OperationErrorCode as Code

#: Any operation may answer these; they are not repeated in the rows.
COMMON_ERRORS: Final = (
    Code.UNKNOWN_OPERATION,
    Code.UNKNOWN_BINDING,
    Code.INVALID_ARGUMENT,
    Code.LIMIT_EXCEEDED,
    Code.CANCELLED,
    Code.INTERNAL,
)

KIB = 1024
MIB = 1024 * 1024

STORAGE = ((Code.UNAVAILABLE, "the storage failed; trying again later may help"),)


@dataclass(frozen=True, slots=True)
class OperationNotes:
    """One operation, for the reader. Shapes are in the notation of docs/bindings.md."""

    name: str
    summary: str
    #: Name and shape of each argument after the binding; `?` marks those that may be left out.
    arguments: tuple[tuple[str, str], ...]
    result: str
    #: Beyond COMMON_ERRORS.
    errors: tuple[tuple[Code, str], ...] = ()
    limits: tuple[str, ...] = ()
    #: The `type` of the binding in upload metadata; None: the operation's binding is nil.
    binding: str | None = None
    subrequest: bool = False
    #: What a component calls for it, as `package/interface#function`; (): the standard has no word.
    wasi: tuple[str, ...] = ()


Run = Callable[[GuestEvent, object, Sequence[object]], OperationResult]
Rows = tuple[tuple[OperationNotes, Run], ...]
