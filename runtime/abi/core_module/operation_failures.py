"""What a guest is told of an operation that failed: each cause in the words of the ABI. Pure, but for the log of what
is our own fault.
"""

from __future__ import annotations

import logging

from model.errors import (
    LoadShed,
    OperationError,
    OperationErrorCode,
    PlatformFault,
    TenantError,
    UpstreamError,
)
from model.messages import StreamClosed

_log = logging.getLogger("tenantry.runtime")


def operation_error(name: str, failure: Exception) -> OperationError:
    """`failure` of the operation `name`, as its guest gets to see it. What nobody expects is logged."""
    match failure:
        case OperationError():
            return failure
        case StreamClosed():
            return OperationError(OperationErrorCode.CLOSED_STREAM, f"{name}: {failure}")
        case LoadShed():
            return OperationError(OperationErrorCode.LOAD_SHED, f"{name}: {failure.message}")
        case UpstreamError():
            return OperationError(OperationErrorCode.UPSTREAM_FAILED, f"{name}: {failure.message}")
        case TenantError():  # what a Responder refuses: the worker's status, headers or lengths
            return OperationError(OperationErrorCode.INVALID_ARGUMENT, f"{name}: {failure.message}")
        case PlatformFault():
            _log.error("operation %s failed: %s (%s)", name, failure.message, failure.detail)
            return OperationError(OperationErrorCode.UNAVAILABLE, f"{name}: {failure.message}")
        case _:
            return internal(name, failure)


def internal(name: str, failure: BaseException) -> OperationError:
    """It is a bug in us."""
    _log.error("operation %s failed in the host", name, exc_info=failure)
    return OperationError(OperationErrorCode.INTERNAL, f"{name}: the platform failed; it is logged there")


def over_limit(what: str, limit: int, field: str) -> OperationError:
    """`field` of model.limits.Limits is how many `what` an event may have."""
    return OperationError(
        OperationErrorCode.LIMIT_EXCEEDED,
        f"over the limit of {limit} {what} an event; the platform can raise `limits.{field}` of this script",
    )
