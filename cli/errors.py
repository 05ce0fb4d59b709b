"""Why a command ended early: a message, a hint, and an exit code that a script can branch on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any


class ExitCode(IntEnum):
    """docs/cli.md lists these; they are part of what scripts rely on."""

    OK = 0
    #: The host said no, or a check (doctor, policy test) did not hold.
    REFUSED = 1
    #: The command line or a file given in it is wrong; nothing was sent.
    USAGE = 2
    #: No host answered.
    UNREACHABLE = 3
    #: The token is missing, unknown, or may not do this.
    AUTH = 4
    INTERRUPTED = 130


class CliError(Exception):
    """Ends the command: `message` names what was wrong, `hint` what to do about it ("" for none)."""

    exit_code: ExitCode = ExitCode.REFUSED

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class BadUsage(CliError):
    exit_code = ExitCode.USAGE


class Unreachable(CliError):
    exit_code = ExitCode.UNREACHABLE


class NoToken(CliError):
    exit_code = ExitCode.AUTH


#: Of the API: no token, an unknown one, one without the scope.
_TOKEN_CODES = (10000, 9106)
#: Of the API: a KV title that exists. A 400 there, since client libraries send a 409 again.
_TITLE_EXISTS = 10014


@dataclass(frozen=True, slots=True)
class Problem:
    """One element of an envelope's `errors`."""

    code: int
    message: str
    meta: Mapping[str, Any] = field(default_factory=dict)


class ApiError(CliError):
    """The host answered and refused. `status` is HTTP's, `code` the first error's (0 when it gave none)."""

    def __init__(self, status: int, problems: Sequence[Problem], *, hint: str = "") -> None:
        self.status = status
        self.problems = tuple(problems)
        self.code = self.problems[0].code if self.problems else 0
        text = "; ".join(f"{p.message} (code {p.code})" if p.code else p.message for p in self.problems)
        super().__init__(text or f"the host answered {status} without saying why", hint=hint)
        # A 403 of another kind is about what was asked for, such as another tenant's resource.
        if status == 401 or (status == 403 and self.code in _TOKEN_CODES):
            self.exit_code = ExitCode.AUTH

    @property
    def absent(self) -> bool:
        """What the request was about is not there."""
        return self.status == 404

    @property
    def exists(self) -> bool:
        """What was to be made is there already."""
        return self.status == 409 or self.code == _TITLE_EXISTS
