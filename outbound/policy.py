"""Who may send what where: an egress policy as a value, and the decision. Pure.

`policy_parse` makes one from a document, `policy_layers` decides by several at once; docs/policy.md has
every field. Neither `report` nor `open` relaxes the address rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from outbound.addresses import NOTHING_OPENED, IPNetwork, Opened
from outbound.egress_fields import Facts
from outbound.fetch_limits import NO_LIMITS, NOTHING_STATED, FetchLimits, StatedLimits, lowest
from outbound.plan import plan_of
from outbound.policy_conditions import Conditions
from outbound.policy_index import RuleIndex
from outbound.reasons import Reason
from outbound.rule_actions import NO_ACTIONS, NO_PLAN, NO_QUOTAS, Plan, RuleActions, TenantQuotas


class Mode(StrEnum):
    ENFORCE = "enforce"
    REPORT = "report"
    OPEN = "open"


class Action(StrEnum):
    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Rule:
    name: str
    action: Action
    conditions: Conditions = field(default_factory=Conditions)
    #: The rule's own, and the document's where it states none.
    stated: StatedLimits = NOTHING_STATED
    actions: RuleActions = NO_ACTIONS
    open_cidrs: tuple[IPNetwork, ...] = ()
    #: Names whose private addresses the rule may reach.
    open_hosts: frozenset[str] = frozenset()
    line: int = 0
    #: What follows from the above, made once.
    limits: FetchLimits = field(init=False, repr=False, compare=False)
    plan: Plan = field(init=False, repr=False, compare=False)
    _opened: tuple[Opened, Opened] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "limits", lowest((self.stated,)))
        plan = NO_PLAN if self.actions is NO_ACTIONS else plan_of([(self.name, self.actions)])
        object.__setattr__(self, "plan", plan)
        opened = Opened(self.open_cidrs) if self.open_cidrs else NOTHING_OPENED
        private = Opened(self.open_cidrs, private=True) if self.open_hosts else opened
        object.__setattr__(self, "_opened", (opened, private))

    def opened_for(self, host: str) -> Opened:
        return self._opened[host in self.open_hosts]


class Result(StrEnum):
    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`rule` is the one that decided, or None when none matched."""

    result: Result
    rule: Rule | None
    reason: Reason
    #: What holds of a request that is allowed: the lower of each of all layers' rules.
    limits: FetchLimits = NO_LIMITS
    #: What is done to it.
    actions: Plan = NO_PLAN
    #: The addresses that it may reach beside public ones.
    opened: Opened = NOTHING_OPENED
    #: Which layers and rules allowed it; part of a pooled connection's key.
    trail: str = ""
    #: Whose rule it is: `namespace`, `tag:NAME`, `tenant:ID`, `call`; "" where there are no layers.
    layer: str = ""

    @property
    def rule_name(self) -> str:
        return self.rule.name if self.rule is not None else ""


@dataclass(frozen=True, slots=True)
class EgressPolicy:
    mode: Mode
    rules: tuple[Rule, ...]
    #: Where no rule matched and the request goes all the same.
    defaults: FetchLimits
    #: Names the content: connections made under one version are never used under another.
    version: str
    quotas: TenantQuotas = NO_QUOTAS
    #: What `defaults` come from.
    stated: StatedLimits = NOTHING_STATED
    _index: RuleIndex = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_index", RuleIndex([rule.conditions for rule in self.rules]))

    def first_match(self, facts: Facts) -> Rule | None:
        """The cost hardly follows the number of rules (outbound.policy_index)."""
        order = self._index.first(facts)
        return None if order is None else self.rules[order]

    def matching(self, facts: Facts) -> Iterator[int]:
        """The numbers of all rules that match, in order."""
        return self._index.holding(facts)


#: What holds where no policy was set: nothing leaves.
DENY_ALL: Final = EgressPolicy(Mode.ENFORCE, (), NO_LIMITS, "none")


def decide(policy: EgressPolicy, facts: Facts) -> Verdict:
    """The first rule that matches decides; without one the mode does. Never raises."""
    rule = policy.first_match(facts)
    reason = reason_of(policy.mode, rule)
    if reason in DENIALS:
        return Verdict(Result.DENY, rule, reason)
    if rule is None:
        return Verdict(Result.ALLOW, None, reason, policy.defaults)
    return Verdict(Result.ALLOW, rule, reason, rule.limits, rule.plan, rule.opened_for(facts.host), rule.name)


DENIALS: Final = frozenset({Reason.POLICY_RULE_DENY, Reason.POLICY_DEFAULT_DENY})


def reason_of(mode: Mode, rule: Rule | None) -> Reason:
    """What a document in `mode` says of a request that `rule` matched first, or none."""
    if rule is not None and rule.action is Action.ALLOW:
        return Reason.POLICY_RULE_ALLOW
    if mode is Mode.REPORT:
        return Reason.POLICY_REPORT_WOULD_DENY
    if rule is not None:
        return Reason.POLICY_RULE_DENY
    return Reason.POLICY_OPEN if mode is Mode.OPEN else Reason.POLICY_DEFAULT_DENY
