"""What a plan makes of a request's headers, and which secrets join them. Pure: the secrets' values come later."""

from __future__ import annotations

from collections.abc import Iterable

from model.messages import Header
from outbound.header_hygiene import changed_headers, without
from outbound.reasons import Reason
from outbound.refusal import Refused
from outbound.rule_actions import Plan, SecretInjection
from outbound.secret_injection import header_of, leaves_in_the_clear
from outbound.target import Target


def plan_headers(
    plan: Plan, target: Target, headers: list[Header], *, crossed: bool
) -> tuple[list[Header], tuple[SecretInjection, ...]]:
    """The headers without secrets, and the secrets that are to be injected: none once a redirect `crossed` to
    another origin. Raises Refused for one that would go in the clear.
    """
    if plan.remove_headers or plan.set_headers:
        headers = changed_headers(headers, plan.remove_headers, plan.set_headers)
    if crossed or not plan.secrets:
        return headers, ()
    open_one = leaves_in_the_clear(plan.secrets, target)
    if open_one is not None:
        raise Refused(
            Reason.SECRET_PLAINTEXT,
            f"the egress secret {open_one.secret!r} leaves over TLS only; ask for https, "
            "or let the policy say allow_plaintext",
        )
    return headers, plan.secrets


def inject(headers: Iterable[Header], injection: SecretInjection, value: str) -> list[Header]:
    """Replaces every header of its name. Raises SecretUnusable."""
    name, header_value = header_of(injection, value)
    return [*without(headers, [name]), (name, header_value)]
