"""Which route answers a request. Pure: facts and candidates in, Routed or NoRoute out.

Precedence, the first difference decides:

1. an exact hostname, then wildcards, those with more labels first, `*` last;
2. a longer path prefix, on segment borders (`/api` is not `/apifoo`), compared as `paths` spells them;
3. more header conditions. A condition holds when the header is there exactly once with exactly that value;
   routes with conditions count only where their hostname pattern has `header_routes` enabled.

When no route of a more exact pattern matches, the next pattern is asked. Two routes that this list cannot
order and that one request could match both are a tie (`ties`), which is refused when a route is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from model.messages import Header, Headers
from model.paths import has_prefix, normalise_path, normalise_prefix
from model.scripts import HostnameRoutes, Route, Target


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """All of a request that routing may look at. `path` is as sent, without query."""

    hostname: str
    path: str
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class Routed:
    """`target` answers, because of `route`."""

    route: Route
    target: Target


@dataclass(frozen=True, slots=True)
class NoRoute:
    """Nothing answers. `reason` is for the operator's log."""

    reason: str


#: The hostname has no routes at all, nor has a wildcard over it.
UNKNOWN_HOSTNAME = NoRoute("no route for this hostname")
#: It has routes, and each wants another path or header.
NOTHING_MATCHED = NoRoute("no route of this hostname matches the path and headers")


@dataclass(frozen=True, slots=True)
class Rule:
    """A route as it is compared: prefix normalised, conditions as bytes."""

    prefix: str
    conditions: tuple[Header, ...]
    routed: Routed


@dataclass(frozen=True, slots=True)
class CompiledRoutes:
    """Every rule that can answer one hostname, in precedence order.

    `always` is set when the first of them has neither prefix nor conditions: then no request needs
    comparing. Rules behind one that matches everything are left out.
    """

    rules: tuple[Rule, ...]
    always: Routed | None = None


def compile_routes(candidates: Sequence[HostnameRoutes]) -> CompiledRoutes | NoRoute:
    """Put the routes of `candidates`, the most exact pattern first, into one list in precedence order."""
    rules: list[Rule] = []
    for candidate in candidates:
        if not candidate.routes:
            continue
        for rule in sorted(_rules(candidate), key=_precedence):
            rules.append(rule)
            if not rule.prefix and not rule.conditions:
                return CompiledRoutes(tuple(rules), rule.routed if len(rules) == 1 else None)
    return CompiledRoutes(tuple(rules)) if rules else UNKNOWN_HOSTNAME


def choose(rules: Iterable[Rule], path: str, headers: Headers) -> Routed | NoRoute:
    """The first rule that matches. `path` is as sent."""
    path = normalise_path(path)
    for rule in rules:
        if has_prefix(path, rule.prefix) and (not rule.conditions or _hold(rule.conditions, headers)):
            return rule.routed
    return NOTHING_MATCHED


def route(facts: RequestFacts, candidates: Sequence[HostnameRoutes]) -> Routed | NoRoute:
    """Decide by the list above. `candidates` are what is stored under the patterns that
    `model.hostname.wildcard_candidates(facts.hostname)` names, in that order.
    """
    compiled = compile_routes(candidates)
    if isinstance(compiled, NoRoute):
        return compiled
    return choose(compiled.rules, facts.path, facts.headers)


def _rules(candidate: HostnameRoutes) -> Iterable[Rule]:
    for stored in candidate.routes:
        headers = stored.headers
        if headers and not candidate.header_routes:
            continue
        prefix = stored.path_prefix
        yield Rule(
            normalise_prefix(prefix) if prefix else "",
            tuple((name.lower().encode(), value.encode()) for name, value in headers) if headers else (),
            Routed(stored, stored.target),
        )


def _precedence(rule: Rule) -> tuple[int, int, str]:
    # The id only makes the order the same everywhere, should a tie have slipped in.
    return -len(rule.prefix), -len(rule.conditions), rule.routed.route.id


def _hold(conditions: tuple[Header, ...], headers: Headers) -> bool:
    for wanted, value in conditions:
        found = [sent for name, sent in headers if name == wanted]
        # White space around a value is not part of it (RFC 9110 §5.5).
        if len(found) != 1 or found[0].strip(b" \t") != value:
            return False
    return True
