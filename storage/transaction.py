"""What a work sees of the database while it runs, whatever engine is below."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

SqlValue = None | int | float | str | bytes
#: Any: the statement knows the columns' types, the type checker can't.
Row = tuple[Any, ...]


class Transaction(Protocol):
    """No longer usable when the work has returned."""

    def execute(self, sql: str, params: Sequence[SqlValue] = ()) -> list[Row]:
        """All rows of one statement. Raises StorageError subclasses."""

    def changes(self) -> int:
        """Rows that the last INSERT, UPDATE or DELETE touched."""


CommitHook = Callable[[Transaction], None]
