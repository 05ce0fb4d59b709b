"""What can be wrong with uploaded bytes, as stable codes."""

from __future__ import annotations

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


class InvalidModule(ValueError):
    """The bytes are no worker. `message` says what was wrong and what would be right, for the tenant."""

    def __init__(self, code: ModuleProblem, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def quote(name: str) -> str:
    """A tenant's name in a message: one line, printable, of bounded length."""
    return ascii(name) if len(name) <= 80 else ascii(name[:80]) + "…"
