"""Errors that say whose fault it was. Anything else raised across a package border is a bug in us."""

from __future__ import annotations

from enum import StrEnum

from model.outcome import PAGES, EventOutcome


class PlatformError(Exception):
    """Base of the four families below.

    `message` is for the one at fault (visitor or tenant); `detail` is for the operator and never leaves
    the host. `status` is the HTTP status, `code` the number on the error page.
    """

    outcome: EventOutcome = EventOutcome.INTERNAL_ERROR

    def __init__(
        self,
        message: str,
        *,
        detail: str = "",
        outcome: EventOutcome | None = None,
        status: int | None = None,
        code: int | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        if outcome is not None:
            self.outcome = outcome
        page = PAGES[self.outcome]
        self.status = page.status if status is None else status
        self.code = page.code if code is None else code
        self.retry_after_s = retry_after_s


class VisitorError(PlatformError):
    """The incoming request is malformed, too large, or for nobody."""

    outcome = EventOutcome.SCRIPT_NOT_FOUND


class TenantError(PlatformError):
    """The worker trapped, exceeded a limit, or broke the ABI."""

    outcome = EventOutcome.EXCEPTION


class UpstreamError(PlatformError):
    """An origin, a DNS server or a CA failed or did not answer in time."""

    outcome = EventOutcome.EXCEPTION


class PlatformFault(PlatformError):
    """Our bug or our storage."""

    outcome = EventOutcome.INTERNAL_ERROR


class LoadShed(PlatformFault):
    """No room to run this event now. Carries `retry_after_s`."""

    outcome = EventOutcome.LOAD_SHED

    def __init__(self, message: str, *, retry_after_s: int = 1) -> None:
        super().__init__(message, retry_after_s=retry_after_s)


class ProcessLost(PlatformFault):
    """The process that ran it ended in the middle, or is too late."""


class OperationErrorCode(StrEnum):
    """What a failed host operation tells the guest; docs/guest-abi.md lists them with their meaning."""

    UNKNOWN_BINDING = "unknown_binding"
    UNKNOWN_OPERATION = "unknown_operation"
    INVALID_ARGUMENT = "invalid_argument"
    NOT_FOUND = "not_found"
    LIMIT_EXCEEDED = "limit_exceeded"
    CLOSED_STREAM = "closed_stream"
    WORKER_NOT_FOUND = "worker_not_found"
    WORKER_FAILED = "worker_failed"
    DENIED = "denied"
    TIMEOUT = "timeout"
    UPSTREAM_FAILED = "upstream_failed"
    LOAD_SHED = "load_shed"
    CANCELLED = "cancelled"
    CONFLICT = "conflict"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


class OperationError(Exception):
    """One host operation failed; the worker goes on and reads `code` and `message`.

    `message` names the limit or the argument, its value, and what would be right. It is shown to the
    tenant, so it holds nothing of another tenant's and no path or address of the host.
    """

    def __init__(self, code: OperationErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
