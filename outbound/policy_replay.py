"""Recorded decisions, asked of another policy. Pure.

The audit holds no header and no query, may hold a path that was cut, and of params only what fits: a rule that
asks for such a fact may have matched or not. Where that makes a difference the answer is unknown, and says why.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import product
from math import prod
from typing import Final

from model.call_egress import EgressHosts
from outbound.addresses import ALLOWED, AddressClass, AddressRanges, classify
from outbound.egress_fields import Facts
from outbound.policy import DENIALS, EgressPolicy, Result, Rule, Verdict
from outbound.policy_conditions import Conditions
from outbound.policy_index import NEEDED_FIELDS
from outbound.policy_layers import LayerKind, decide_matches
from outbound.policy_set import PolicySet
from outbound.reasons import Reason
from outbound.target import InvalidTarget, parse_target

#: A path in the audit is cut after this many characters (outbound.attempt).
CUT_PATH: Final = 1_024
#: Ways in which unknown facts may turn out, of one decision.
_MOST_WAYS: Final = 256
_NO_RANGES: Final = AddressRanges()
_ADDRESS: Final = "address."


class Missing(StrEnum):
    """What the audit does not hold and a rule asks for. Names stay."""

    HEADERS = "headers"
    QUERY = "query"
    PATH = "path"
    #: Tags, params and egress that took too much room.
    TRUNCATED = "truncated"
    #: One address was recorded, and others of the name may decide now.
    ADDRESSES = "addresses"
    #: The record can't be read as a request.
    REQUEST = "request"


_NEVER_KNOWN: Final[Mapping[str, Missing]] = {
    "http.request.headers": Missing.HEADERS,
    "http.request.uri.query": Missing.QUERY,
    "http.request.uri": Missing.QUERY,
    "http.request.full_uri": Missing.QUERY,
}


@dataclass(frozen=True, slots=True)
class Recorded:
    """One record of the audit, as docs/control-api.md has it. `namespace` is "" for plain scripts."""

    tenant: str
    namespace: str
    script: str
    ray_id: str
    method: str
    scheme: str
    host: str
    port: int
    path: str
    result: Result
    layer: str
    rule: str
    reason: str
    #: "": it was refused before the policy was asked.
    policy_reason: str
    address: str = ""
    tags: tuple[str, ...] = ()
    params: tuple[tuple[str, str], ...] = ()
    egress_hosts: EgressHosts | None = None
    #: `params` and `egress_hosts` are not known; nor are `tags`, when they are empty.
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """`layer` and `rule` are the policy's; `reason` may be an address's."""

    result: Result
    layer: str
    rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class Replayed:
    """`now` is None where it is not known; `missing` says why. Both empty: no policy was asked."""

    was: Decision
    now: Decision | None = None
    missing: frozenset[Missing] = frozenset()


class Replayer:
    """Asks one set of policies."""

    def __init__(self, policies: PolicySet) -> None:
        self._policies = policies
        self._uncertain: dict[tuple[str, frozenset[str]], list[tuple[int, Rule, frozenset[Missing]]]] = {}

    def replay(self, record: Recorded) -> Replayed:
        """Never raises."""
        was = was_decided(record)
        if not record.policy_reason:
            return Replayed(was)
        facts = _facts(record)
        if facts is None:
            return Replayed(was, missing=frozenset((Missing.REQUEST,)))
        lost = _lost(record)
        if "tenant.tags" in lost and any(layer.kind is LayerKind.TAG for layer in self._policies.layers):
            return Replayed(was, missing=frozenset((Missing.TRUNCATED,)))
        effective = self._policies.holding(record.tenant, record.tags, record.egress_hosts)
        ways = [self._possible(layer.policy, facts, lost) for layer in effective.layers]
        missing = frozenset[Missing]().union(*(why for layer in ways for _, why in layer))
        if prod(map(len, ways)) > _MOST_WAYS:
            return Replayed(was, missing=missing)
        found: set[Decision] = set()
        for way in product(*ways):
            verdict = decide_matches(effective, [rule for rule, _ in way], facts.host)
            decision = _with_address(record, verdict)
            if decision is None:
                return Replayed(was, missing=missing | {Missing.ADDRESSES})
            found.add(decision)
        if record.truncated and any(decision.result is Result.ALLOW for decision in found):
            return Replayed(was, missing=missing | {Missing.TRUNCATED})
        return Replayed(was, found.pop()) if len(found) == 1 else Replayed(was, missing=missing)

    def _possible(
        self, policy: EgressPolicy, facts: Facts, lost: Mapping[str, Missing]
    ) -> list[tuple[Rule | None, frozenset[Missing]]]:
        """The rules of which one is the first that matches, with what would have to be known."""
        key = policy.version, frozenset(lost)
        uncertain = self._uncertain.get(key)
        if uncertain is None:
            uncertain = self._uncertain[key] = [
                (order, rule, why)
                for order, rule in enumerate(policy.rules)
                if (why := _asks_for(rule.conditions, lost))
            ]
        unsure = {order for order, _, _ in uncertain}
        first = next((order for order in policy.matching(facts) if order not in unsure), None)
        found: list[tuple[Rule | None, frozenset[Missing]]] = [
            (rule, why)
            for order, rule, why in uncertain
            if (first is None or order < first) and _may_match(rule.conditions, facts, lost)
        ]
        found.append((None if first is None else policy.rules[first], frozenset()))
        return found


def counted(records: Iterable[Recorded]) -> list[tuple[Recorded, int]]:
    """Each once, with how often it is there; records repeat themselves. The first one's ray id stands for all."""
    found: dict[Recorded, tuple[str, int]] = {}
    for record in records:
        alike = replace(record, ray_id="")
        ray_id, count = found.get(alike, (record.ray_id, 0))
        found[alike] = ray_id, count + 1
    return [(replace(record, ray_id=ray_id), count) for record, (ray_id, count) in found.items()]


def was_decided(record: Recorded) -> Decision:
    """What the record says of policy and addresses; what became of the request afterwards is another matter."""
    if record.policy_reason in DENIALS:
        return Decision(Result.DENY, record.layer, record.rule, record.policy_reason)
    if not record.policy_reason or record.reason.startswith(_ADDRESS):
        return Decision(Result.DENY, record.layer, record.rule, record.reason)
    return Decision(Result.ALLOW, record.layer, record.rule, record.policy_reason)


def _facts(record: Recorded) -> Facts | None:
    path = record.path
    if len(path) < CUT_PATH:
        host = f"[{record.host}]" if ":" in record.host else record.host
        try:
            path = parse_target(f"{record.scheme}://{host}:{record.port}{path}").match_path
        except InvalidTarget:
            return None  # another release recorded it, and was less strict
    return Facts(
        record.scheme,
        record.host,
        record.port,
        record.method,
        path,
        record.tenant,
        record.tags,
        dict(record.params),
        record.script,
        record.namespace,
    )


def _lost(record: Recorded) -> dict[str, Missing]:
    """The facts that are not known, by the name that expressions have for them."""
    lost = dict(_NEVER_KNOWN)
    if len(record.path) >= CUT_PATH:
        lost["http.request.uri.path"] = Missing.PATH
    if record.truncated:
        lost["params"] = Missing.TRUNCATED
        if not record.tags:
            lost["tenant.tags"] = lost["tenant.plan"] = Missing.TRUNCATED
    return lost


def _asks_for(asked: Conditions, lost: Mapping[str, Missing]) -> frozenset[Missing]:
    names = set(asked.when.filter.fields if asked.when is not None else ())
    names |= {name for name, wanted in _asked_by_fields(asked).items() if wanted is not None}
    return frozenset(lost[name] for name in names if name in lost)


def _asked_by_fields(asked: Conditions) -> dict[str, object]:
    return {"http.request.uri.path": asked.paths, "params": asked.params, "tenant.tags": asked.tags}


def _may_match(asked: Conditions, facts: Facts, lost: Mapping[str, Missing]) -> bool:
    """Whether all holds that does not ask for what was lost."""
    when = asked.when
    if when is not None and not lost.keys().isdisjoint(when.filter.fields):
        for name, values in when.needs:
            read = NEEDED_FIELDS.get(name)
            if read is not None and name not in lost and read(facts) not in values:
                return False
        when = None
    known = replace(
        asked,
        when=when,
        paths=None if "http.request.uri.path" in lost else asked.paths,
        params=None if "params" in lost else asked.params,
        tags=None if "tenant.tags" in lost else asked.tags,
    )
    return known.unmet(facts) is None


def _with_address(record: Recorded, verdict: Verdict) -> Decision | None:
    """None: it is one of the name's other addresses that would decide."""
    layer, rule = verdict.layer, verdict.rule_name
    if verdict.result is Result.DENY or not record.address:
        return Decision(verdict.result, layer, rule, verdict.reason.value)
    try:
        address = ipaddress.ip_address(record.address)
    except ValueError:
        return None
    kind = classify(address, record.port, _NO_RANGES, verdict.opened)
    if record.reason.startswith(_ADDRESS):
        # Which of this host's own addresses and listeners deny is known there alone; no policy opens a listener.
        if kind is AddressClass.OPENED and record.reason != Reason.ADDRESS_SELF_CONNECTION:
            return None
        return Decision(Result.DENY, layer, rule, record.reason)
    if kind in ALLOWED:
        return Decision(Result.ALLOW, layer, rule, verdict.reason.value)
    return Decision(Result.DENY, layer, rule, f"{_ADDRESS}{kind.value}")


@dataclass(slots=True)
class Group:
    """Records with the same answer. `now` None: it is not known, and `missing` says why."""

    host: str
    was: Decision
    now: Decision | None
    missing: frozenset[Missing]
    count: int = 0
    #: Of the first of them.
    ray_id: str = ""


@dataclass(slots=True)
class Replay:
    """What would change, counted as records come. `unchanged` and `not_asked` (the request was refused before the
    policy was asked) are numbers of records.
    """

    total: int = 0
    unchanged: int = 0
    not_asked: int = 0
    _groups: dict[tuple[str, Decision, Decision | None, frozenset[Missing]], Group] = field(
        default_factory=dict
    )

    def add(self, record: Recorded, found: Replayed, count: int = 1) -> None:
        self.total += count
        if found.now == found.was:
            self.unchanged += count
        elif found.now is None and not found.missing:
            self.not_asked += count
        else:
            key = record.host, found.was, found.now, found.missing
            group = self._groups.get(key)
            if group is None:
                group = self._groups[key] = Group(*key, ray_id=record.ray_id)
            group.count += count

    @property
    def results(self) -> list[Group]:
        """What would be allowed instead of denied, or denied instead of allowed; the most frequent first."""
        return self._sorted(lambda group: group.now is not None and group.now.result is not group.was.result)

    @property
    def others(self) -> list[Group]:
        """The same result, by another rule or for another reason."""
        return self._sorted(lambda group: group.now is not None and group.now.result is group.was.result)

    @property
    def unknown(self) -> list[Group]:
        return self._sorted(lambda group: group.now is None)

    def _sorted(self, wanted: Callable[[Group], bool]) -> list[Group]:
        return sorted(filter(wanted, self._groups.values()), key=lambda group: (-group.count, group.host))
