"""What is suspicious about a policy that is not wrong: rules that never decide, secrets that may reach strangers. Pure.

A rule never decides when rules before it take all that it would match. That is looked for condition by
condition and host by host, so some that never decide are not found; what is found is true.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from outbound.path_glob import Glob
from outbound.policy import Action, EgressPolicy, Mode, Rule
from outbound.policy_conditions import Conditions
from outbound.policy_index import PathSets, ValueSets, host_keys

#: Networks wider than these are worth a second look: a whole site's, for IPv6 too.
WIDE: Final = {4: 16, 6: 48}
#: Pairs of rules whose paths, params and expressions are compared: 10,000 rules of one host have 50 million.
MAX_COMPARISONS: Final = 500_000
_ANYTHING: Final = Conditions()
_ANY_PATH: Final = Glob.compile("*")


class Problem(StrEnum):
    """Names stay."""

    #: Rules before it do the same to all that it would match: it can go.
    REDUNDANT = "rule.redundant"
    #: Rules before it do the opposite to all that it would match.
    SHADOWED = "rule.shadowed"
    #: Rules before it take all that it would match: some the one way, some the other, or with other limits and actions.
    UNREACHABLE = "rule.unreachable"
    DENY_AFTER_ALLOW_ALL = "rule.deny_after_allow_all"
    INJECTION_WILDCARD_HOST = "secret.wildcard_host"
    INJECTION_PLAINTEXT = "secret.plaintext"
    OPEN_CIDRS_WIDE = "open_cidrs.wide"
    MODE_OPEN = "mode.open"
    MODE_REPORT = "mode.report"
    #: Of a layer beside the namespace's that does not widen.
    OPENS_NOTHING = "layer.opens_nothing"
    LAYER_ALLOWS_NOTHING = "layer.allows_nothing"
    NOT_ALL_COMPARED = "check.incomplete"


@dataclass(frozen=True, slots=True)
class Finding:
    """`rule` is "" and `line` 1 where the document as a whole is meant."""

    problem: Problem
    rule: str
    line: int
    message: str
    #: The rules before it that take what it would match.
    by: tuple[str, ...] = ()


def lint(policy: EgressPolicy) -> list[Finding]:
    """In the order of the rules, what concerns the document first."""
    found: list[Finding] = []
    if policy.mode is Mode.OPEN:
        found.append(Finding(Problem.MODE_OPEN, "", 1, "what no rule matches is allowed, to any host"))
    if policy.mode is Mode.REPORT:
        found.append(Finding(Problem.MODE_REPORT, "", 1, "nothing is denied: what would be is only recorded"))
    cover = _Cover(policy.rules)
    allow_all: Rule | None = None
    for order, rule in enumerate(policy.rules):
        if allow_all is not None and rule.action is Action.DENY:
            message = f"the rule {allow_all.name!r} before it allows everything: this denies nothing"
            found.append(
                Finding(Problem.DENY_AFTER_ALLOW_ALL, rule.name, rule.line, message, (allow_all.name,))
            )
        else:
            found += _covered(rule, cover.of(order))
        if allow_all is None and rule.action is Action.ALLOW and rule.conditions == _ANYTHING:
            allow_all = rule
        found += _secrets(rule)
        found += _opened(rule)
    if cover.comparisons > MAX_COMPARISONS:
        message = f"more than {MAX_COMPARISONS:,} pairs of rules are alike; not all of them were compared"
        found.append(Finding(Problem.NOT_ALL_COMPARED, "", 1, message))
    return found


def _covered(rule: Rule, by: Sequence[Rule]) -> list[Finding]:
    if not by:
        return []
    names = tuple(dict.fromkeys(other.name for other in by))
    shown = ", ".join(repr(name) for name in names[:3]) + (", …" if len(names) > 3 else "")
    actions = {other.action for other in by}
    if actions == {rule.action} and not all(_does_as(rule, other) for other in by):
        # First match wins: a secret, say, that this rule sends is sent with nothing.
        problem = Problem.UNREACHABLE
        message = f"never decides: {shown} before it allow all that it matches, with other limits or actions"
    elif actions == {rule.action}:
        problem, message = Problem.REDUNDANT, f"does what {shown} before it does already; it can go"
    elif len(actions) == 1:
        problem, message = Problem.SHADOWED, f"never decides: {shown} before it does the opposite"
    else:
        problem, message = Problem.UNREACHABLE, f"never decides: {shown} before it take all that it matches"
    return [Finding(problem, rule.name, rule.line, message, names)]


def _does_as(rule: Rule, other: Rule) -> bool:
    """Whether both do the same to a request, both allowing or both denying it."""
    return rule.action is Action.DENY or (rule.actions, rule.limits, rule.open_cidrs, rule.open_hosts) == (
        other.actions, other.limits, other.open_cidrs, other.open_hosts
    )  # fmt: skip


def _secrets(rule: Rule) -> list[Finding]:
    found: list[Finding] = []
    wild = [host for host in rule.conditions.hosts or () if host.startswith("*.")]
    for secret in rule.actions.secrets:
        if wild:
            message = (
                f"sends the secret {secret.secret!r} to every host below {wild[0][2:]}, whoever runs it; "
                "an upstream that echoes a body shows it to the worker"
            )
            found.append(Finding(Problem.INJECTION_WILDCARD_HOST, rule.name, rule.line, message))
        if secret.allow_plaintext:
            message = f"may send the secret {secret.secret!r} without TLS"
            found.append(Finding(Problem.INJECTION_PLAINTEXT, rule.name, rule.line, message))
    return found


def _opened(rule: Rule) -> list[Finding]:
    return [
        Finding(
            Problem.OPEN_CIDRS_WIDE,
            rule.name,
            rule.line,
            f"opens {network}, {network.num_addresses:,} addresses; name what is needed of it",
        )
        for network in rule.open_cidrs
        if network.prefixlen < WIDE[network.version]
    ]


class _Cover:
    """Which rules before one take all that it would match."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.comparisons = 0
        self._rules = rules
        asked = [rule.conditions for rule in rules]
        self._hosts = ValueSets([_host_keys(each.hosts) for each in asked])
        self._ports = ValueSets([each.ports for each in asked])
        self._schemes = ValueSets([each.schemes for each in asked])
        self._methods = ValueSets([each.methods for each in asked])
        self._tags = ValueSets([each.tags for each in asked])
        self._params = ValueSets(
            [[name for name, _ in each.params] if each.params else None for each in asked]
        )
        self._when = ValueSets([None if each.when is None else [each.when] for each in asked])
        self._paths = PathSets([each.paths for each in asked])

    def of(self, order: int) -> list[Rule]:
        """The first such rule for each host that the rule names; [] when there is a host without."""
        asked = self._rules[order].conditions
        mask = (1 << order) - 1
        for sets, values in (
            (self._ports, asked.ports),
            (self._schemes, asked.schemes),
            (self._methods, asked.methods),
            (self._tags, asked.tags),
        ):
            mask &= sets.free if values is None else sets.all_of(values)
        # More params ask for more: a rule that takes all asks for some of these, or for none.
        mask &= self._params.any_of(name for name, _ in asked.params or ())
        mask &= self._when.any_of([asked.when] if asked.when is not None else ())
        for glob in asked.paths or ():
            mask &= self._paths.sets.any_of(self._paths.candidates(glob.first))
        if asked.paths is None:
            mask &= self._paths.sets.free
        found: list[Rule] = []
        for host in asked.hosts or (None,):
            rule = self._first(mask & self._for_host(host), asked)
            if rule is None:
                return []
            found.append(rule)
        return found

    def _for_host(self, host: str | None) -> int:
        if host is None:
            return self._hosts.free
        # A wildcard's names all lie below each base above it, too.
        keys: Iterable[Hashable] = host_keys(host[1:]) if host.startswith("*.") else host_keys(host)
        return self._hosts.any_of(keys)

    def _first(self, mask: int, asked: Conditions) -> Rule | None:
        while mask:
            lowest = mask & -mask
            mask ^= lowest
            self.comparisons += 1
            if self.comparisons > MAX_COMPARISONS:
                return None
            rule = self._rules[lowest.bit_length() - 1]
            if takes_paths_and_params(rule.conditions, asked):
                return rule
        return None


def takes_paths_and_params(broad: Conditions, narrow: Conditions) -> bool:
    """What of `broad` the sets don't say: its paths and params."""
    if broad.paths is not None and not all(_held(glob, broad.paths) for glob in narrow.paths or (_ANY_PATH,)):
        return False
    values = dict(narrow.params or ())
    return all(name in values and values[name] <= wanted for name, wanted in broad.params or ())


def _held(glob: Glob, by: Iterable[Glob]) -> bool:
    return any(other.covers(glob) for other in by)


def _host_keys(patterns: Sequence[str] | None) -> set[Hashable] | None:
    return None if patterns is None else {pattern.removeprefix("*") for pattern in patterns}
