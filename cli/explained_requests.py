"""An explained decision as lines for people, and as JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from outbound.addresses import ALLOWED
from outbound.fetch_limits import LIMIT_NAMES
from outbound.policy import Verdict
from outbound.policy_conditions import Condition
from outbound.policy_explain import Explained
from outbound.policy_layers import Layer
from outbound.policy_walk import Step, why_unmet
from outbound.rule_actions import Plan, TlsSettings

#: Rules for other hosts that are shown, where they stand together.
_OTHERS: Final = 3


def lines(found: Explained, *, whole: bool) -> Iterator[str]:
    """`whole`: with every rule for another host, too."""
    hop = found.hop
    if hop.target is None or hop.verdict is None:
        yield f"refused before the policy is asked: {hop.message} ({hop.reason.value})"
        yield f"deny: {hop.reason.value}"
        return
    target = hop.target
    yield f"{hop.method} {target.scheme}://{target.authority}{hop.facts.path if hop.facts else target.path}"
    for layer in found.effective.layers:
        yield _layer_head(layer)
        yield from _rules(found, [step for step in found.steps if step.layer == layer.name], whole)
    yield f"policy: {_verdict_words(hop.verdict)}"
    yield from (f"  {line}" for line in _does(hop.verdict))
    if not found.addresses and hop.request.answers is None and hop.verdict.result.value == "allow":
        yield "addresses: not judged; --dns or --resolve says where the name leads"
    for text, kind in found.addresses:
        yield f"address {text}: {kind.value}, {'may be reached' if kind in ALLOWED else 'denies the whole name'}"
    yield f"{hop.result.value}: {hop.reason.value}" + (f" ({hop.message})" if hop.message else "")


def to_json(found: Explained) -> dict[str, Any]:
    hop = found.hop
    verdict = hop.verdict
    return {
        "result": hop.result,
        "reason": hop.reason,
        "message": hop.message,
        "layer": "" if verdict is None else verdict.layer,
        "rule": "" if verdict is None else verdict.rule_name,
        "policy_reason": None if verdict is None else verdict.reason,
        "walk": [_step_json(found, step) for step in found.steps],
        "limits": None if verdict is None else {name: getattr(verdict.limits, name) for name in LIMIT_NAMES},
        "does": [] if verdict is None else list(_does(verdict))[1:],
        "headers": [
            [name.decode("latin-1"), value.decode("utf-8", "replace")] for name, value in hop.headers
        ],
        "addresses": [{"address": text, "class": kind} for text, kind in found.addresses],
    }


def _step_json(found: Explained, step: Step) -> dict[str, Any]:
    return {
        "layer": step.layer,
        "rule": None if step.rule is None else step.rule.name,
        "line": None if step.rule is None else step.rule.line,
        "unmet": step.unmet,
        "why": _why(found, step),
        "says": step.reason,
    }


def _layer_head(layer: Layer) -> str:
    widens = ", widens" if layer.widen else ""
    rules = len(layer.policy.rules)
    return f"{layer.name} ({layer.policy.mode.value}{widens}, {rules} rule{'' if rules == 1 else 's'})"


def _rules(found: Explained, steps: Sequence[Step], whole: bool) -> Iterator[str]:
    others = 0
    for step in [*steps, None]:
        is_other = step is not None and step.unmet is Condition.HOST
        if is_other and not whole:
            others += 1
            if others > _OTHERS:
                continue
        elif others > _OTHERS:
            yield f"  … and {others - _OTHERS} more for other hosts (--all shows them)"
            others = 0
        else:
            others = 0
        if step is not None:
            yield f"  {_step_words(found, step)}"


def _step_words(found: Explained, step: Step) -> str:
    if step.rule is None:
        if step.silent:
            return "no rule matches: it says nothing"
        return f"no rule matches: {step.reason.value if step.reason else ''}"
    where = f"line {step.rule.line}: " if step.rule.line else ""
    says = f"matches: {step.reason.value}" if step.reason is not None else _why(found, step)
    return f"{where}{step.rule.name!r} ({step.rule.action.value}) {says}"


def _why(found: Explained, step: Step) -> str:
    if step.rule is None or step.unmet is None or found.hop.facts is None:
        return ""
    return why_unmet(step.rule.conditions, step.unmet, found.hop.facts)


def _verdict_words(verdict: Verdict) -> str:
    by = f"rule {verdict.rule_name!r}" if verdict.rule is not None else "no rule"
    return f"{verdict.result.value} by {by} of {verdict.layer}, {verdict.reason.value}"


def _does(verdict: Verdict) -> Iterator[str]:
    """Of a request that is allowed; the limits come first."""
    if verdict.result.value == "deny":
        return
    yield "limits: " + ", ".join(f"{name} {getattr(verdict.limits, name):,}" for name in LIMIT_NAMES)
    yield from _plan(verdict.actions)
    if verdict.opened.networks:
        yield f"opens: {', '.join(map(str, verdict.opened.networks))}"
    if verdict.opened.private:
        yield "opens: the private addresses of this name"


def _plan(plan: Plan) -> Iterable[str]:
    for name in plan.remove_headers:
        yield f"removes header {name}"
    for name, value in plan.set_headers:
        yield f"sets header {name}: {value}"
    for secret in plan.secrets:
        value = secret.template.replace("{secret}", f"{{secret:{secret.secret}}}")
        yield f"injects header {secret.header}: {value}"
    for rate in plan.rate_limits:
        yield f"rate limit {rate.name}: {rate.limit.requests:,} in {rate.limit.period_s:,} s per {rate.limit.per}"
    if plan.retries.attempts:
        yield f"retries {plan.retries.attempts} times"
    if plan.tls != TlsSettings():
        named = filter(None, (plan.tls.ca_bundle, plan.tls.client_certificate))
        yield f"TLS {plan.tls.minimum_version} at least {' with '.join(['', *named])}".rstrip()
    if plan.proxy is not None:
        yield f"goes through the proxy {plan.proxy.scheme}://{plan.proxy.host}:{plan.proxy.port}"
    if plan.follow_redirects:
        yield f"follows {plan.follow_redirects} redirects, each judged anew"
