"""What can be wrong with uploaded bytes, as stable codes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ModuleProblem(StrEnum):
    """Why a module was refused. The values are stable: API answers and tests rely on them."""

    TOO_LARGE = "too_large"
    NOT_WASM = "not_wasm"
    WAT_TEXT = "wat_text"
    COMPONENT = "component"
    UNSUPPORTED_VERSION = "unsupported_version"
    TRUNCATED = "truncated"
    MALFORMED = "malformed"
    SECTION_ORDER = "section_order"
    UNSUPPORTED_FEATURE = "unsupported_feature"
    UNKNOWN_IMPORT = "unknown_import"
    WRONG_IMPORT_TYPE = "wrong_import_type"
    MISSING_EXPORT = "missing_export"
    WRONG_EXPORT_TYPE = "wrong_export_type"
    COMMAND = "command"
    TOO_MANY = "too_many"
    TOO_MUCH_MEMORY = "too_much_memory"
    #: It reads well, but does not validate, takes too long to compile, or fails when it starts.
    DOES_NOT_COMPILE = "does_not_compile"
    #: JavaScript that does not parse, or whose top level fails or takes too much.
    SCRIPT_FAILED = "script_failed"
    #: This host was set up without the JavaScript engine.
    NO_JAVASCRIPT = "no_javascript"


class InvalidModule(ValueError):
    """The bytes are no worker. `message` says what was wrong and what would be right, for the tenant."""

    def __init__(self, code: ModuleProblem, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class ScriptError:
    """What JavaScript says of itself: `kind` is the error's name, `stack` as it prints it. `line` and `column` count
    from 1; 0: unknown.
    """

    kind: str
    message: str
    file: str = ""
    line: int = 0
    column: int = 0
    stack: str = ""
    #: (level, text) of what the top level had logged by then.
    lines: tuple[tuple[int, str], ...] = ()

    def __str__(self) -> str:
        """As `Uncaught TypeError: x is not a function at worker.js:3:5`."""
        where = ":".join([self.file, *(str(number) for number in (self.line, self.column) if number)])
        return f"Uncaught {self.kind}: {self.message}" + (f" at {where}" if self.file else "")


class ScriptFailed(InvalidModule):
    """JavaScript that can't be deployed: `error` says where."""

    def __init__(self, error: ScriptError) -> None:
        super().__init__(ModuleProblem.SCRIPT_FAILED, str(error))
        self.error = error


def quote(name: str) -> str:
    """A tenant's name in a message: one line, printable, of bounded length."""
    return ascii(name) if len(name) <= 80 else ascii(name[:80]) + "…"
