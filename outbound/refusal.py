"""Why a request does not go on, from the step that saw it to the rim, and the guest's error code for it."""

from __future__ import annotations

from typing import Final

from model.errors import OperationErrorCode
from outbound.addresses import Denied
from outbound.policy import Verdict
from outbound.reasons import Reason
from outbound.target import Target

_CODES: Final = {
    Reason.REQUEST_TOO_LARGE: OperationErrorCode.LIMIT_EXCEEDED,
    Reason.RESPONSE_TOO_LARGE: OperationErrorCode.LIMIT_EXCEEDED,
    Reason.LIMIT_RATE: OperationErrorCode.LIMIT_EXCEEDED,
    Reason.LIMIT_QUOTA_REQUESTS: OperationErrorCode.LIMIT_EXCEEDED,
    Reason.LIMIT_QUOTA_BYTES: OperationErrorCode.LIMIT_EXCEEDED,
    Reason.LIMIT_QUOTA_CONNECTIONS: OperationErrorCode.LIMIT_EXCEEDED,
    Reason.LIMIT_HOST: OperationErrorCode.LOAD_SHED,
    Reason.REDIRECT_LIMIT: OperationErrorCode.LIMIT_EXCEEDED,
    Reason.REQUEST_HEADER: OperationErrorCode.INVALID_ARGUMENT,
    Reason.REQUEST_BODY: OperationErrorCode.INVALID_ARGUMENT,
    Reason.SECRET_MISSING: OperationErrorCode.UNAVAILABLE,
    Reason.TLS_MATERIAL_MISSING: OperationErrorCode.UNAVAILABLE,
    Reason.RESOLVE_NOT_FOUND: OperationErrorCode.UPSTREAM_FAILED,
    Reason.RESOLVE_FAILED: OperationErrorCode.UPSTREAM_FAILED,
    Reason.RESOLVE_TIMEOUT: OperationErrorCode.TIMEOUT,
    Reason.CONNECT_FAILED: OperationErrorCode.UPSTREAM_FAILED,
    Reason.CONNECT_TIMEOUT: OperationErrorCode.TIMEOUT,
    Reason.TLS_FAILED: OperationErrorCode.UPSTREAM_FAILED,
    Reason.PROXY_FAILED: OperationErrorCode.UPSTREAM_FAILED,
    Reason.UPSTREAM_FAILED: OperationErrorCode.UPSTREAM_FAILED,
    Reason.UPSTREAM_TIMEOUT: OperationErrorCode.TIMEOUT,
}


class Refused(Exception):
    """Carries one reason from a step to the rim."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = f"{message} ({reason.value})"


def code_of(reason: Reason) -> OperationErrorCode:
    """The guest's error code: URL, policy and address reasons are refusals, the table names the rest."""
    return _CODES.get(reason, OperationErrorCode.DENIED)


def policy_refusal(method: str, target: Target, verdict: Verdict) -> str:
    where = f"{method} {target.scheme}://{target.authority}{target.path[:200]}"
    if verdict.rule is not None:
        return f"{where}: rule {verdict.rule.name!r} of the egress policy denies it"
    return f"{where}: no rule of the egress policy allows it; the platform can add one"


def address_reason(denied: Denied) -> Reason:
    return Reason(f"address.{denied.address_class.value}")


def address_refusal(target: Target, denied: Denied) -> str:
    # Not the address: what internal names resolve to is nothing that a tenant should learn.
    kind = denied.address_class.value.replace("_", " ")
    article = "an" if kind[0] in "aeiou" else "a"
    return (
        f"{target.host} has {article} {kind} address; only public ones can be reached, "
        "unless the rule that allows it opens them"
    )
