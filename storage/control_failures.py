"""Why control's state did not change: the rule that a change would have broken, by name."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum


class Rule(StrEnum):
    """The rules that hold over what control keeps. `control.envelope` has their statuses and codes."""

    NAMESPACE_MISSING = "namespace_missing"
    NAMESPACE_EXISTS = "namespace_exists"
    NAMESPACE_IN_USE = "namespace_in_use"
    SCRIPT_MISSING = "script_missing"
    NAMESPACED_SCRIPT_MISSING = "namespaced_script_missing"
    SCRIPT_IN_USE = "script_in_use"
    BINDING_INVALID = "binding_invalid"
    BINDING_MISSING = "binding_missing"
    INHERIT_INVALID = "inherit_invalid"
    NOT_THE_OWNER = "not_the_owner"
    SECRET_MISSING = "secret_missing"  # noqa: S105 - the name of a rule
    ROUTE_MISSING = "route_missing"
    ROUTE_TIE = "route_tie"
    HEADER_ROUTES_OFF = "header_routes_off"
    HEADER_ROUTES_IN_USE = "header_routes_in_use"
    HOSTNAME_MISSING = "hostname_missing"
    KV_NAMESPACE_MISSING = "kv_namespace_missing"
    KV_TITLE_EXISTS = "kv_title_exists"
    KV_NAMESPACE_IN_USE = "kv_namespace_in_use"
    QUEUE_MISSING = "queue_missing"
    QUEUE_EXISTS = "queue_exists"
    QUEUE_IN_USE = "queue_in_use"
    D1_DATABASE_MISSING = "d1_database_missing"
    D1_NAME_EXISTS = "d1_name_exists"
    D1_DATABASE_IN_USE = "d1_database_in_use"
    CONSUMER_MISSING = "consumer_missing"
    CONSUMER_EXISTS = "consumer_exists"
    PULL_CONSUMER_MISSING = "pull_consumer_missing"
    HANDLER_MISSING = "handler_missing"
    SCHEDULE_INVALID = "schedule_invalid"
    POLICY_MISSING = "policy_missing"
    POLICY_VERSION_MISSING = "policy_version_missing"
    POLICY_CHANGED = "policy_changed"
    MATERIAL_MISSING = "material_missing"
    MATERIAL_IN_USE = "material_in_use"
    TENANT_MISSING = "tenant_missing"
    TENANT_IN_USE = "tenant_in_use"
    TENANT_LEAVING = "tenant_leaving"
    QUOTA_EXCEEDED = "quota_exceeded"


class ChangeRefused(Exception):
    """Nothing was changed. `message` says what was wrong and what would be right; `field` names where in
    what was sent, "" when it is the address itself. Shown to who asked.
    """

    def __init__(self, rule: Rule, message: str, field: str = "") -> None:
        super().__init__(message)
        self.rule = rule
        self.message = message
        self.field = field


def listed(names: Sequence[str], more_than: int = 5) -> str:
    """A few names for a message: `a, b, c and others`."""
    shown = ", ".join(names[:more_than])
    return f"{shown} and others" if len(names) > more_than else shown
