"""Failures of our own parts, as a guest may see them."""

from __future__ import annotations

import logging

from model.errors import OperationError, OperationErrorCode, UpstreamError
from model.messages import StreamClosed
from storage.failures import StorageError, WriteUncertain

LOG = logging.getLogger("tenantry.bindings")


def unavailable(error: StorageError) -> OperationError:
    """The disk's failure, for a guest: its details are for the operator, and go to the log."""
    LOG.error("storage failed under a binding: %s (%s)", error.message, error.detail)
    if isinstance(error, WriteUncertain):
        return OperationError(OperationErrorCode.UNAVAILABLE, f"{error.message}: look before you try again")
    return OperationError(OperationErrorCode.UNAVAILABLE, f"{error.message}; trying again later may help")


def broken_stream(error: StreamClosed | UpstreamError) -> OperationError:
    """Whoever fed a stream that the host was reading for a guest broke off before its end."""
    if isinstance(error, UpstreamError):
        return OperationError(
            OperationErrorCode.UPSTREAM_FAILED, f"the stream failed before its end: {error.message}"
        )
    return OperationError(
        OperationErrorCode.CLOSED_STREAM, f"the stream broke off before its end: {error or 'its sender left'}"
    )
