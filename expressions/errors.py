"""What is wrong with an expression, and where."""

from __future__ import annotations


class ExpressionError(Exception):
    """An expression that can't be used. `line` and `column` count from 1, in characters.

    `message` says what to write instead, and may be shown to whoever wrote the expression.
    """

    def __init__(self, message: str, line: int, column: int, source: str = "") -> None:
        super().__init__(f"line {line}, column {column}: {message}")
        self.message = message
        self.line = line
        self.column = column
        self.source = source

    def pointed(self) -> str:
        """The message below the line it is about, with a caret under the column."""
        lines = self.source.split("\n")
        if self.line > len(lines):
            return str(self)
        # A tab stays a tab, so that the caret stands where a terminal shows the column.
        before = lines[self.line - 1][: self.column - 1]
        indent = "".join("\t" if char == "\t" else " " for char in before)
        return f"{lines[self.line - 1]}\n{indent}^ {self.message}"


def error_at(message: str, source: str, offset: int) -> ExpressionError:
    """`offset` counts characters of `source` from 0."""
    before = source[:offset]
    return ExpressionError(message, before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1, source)
