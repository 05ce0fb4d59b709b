"""A policy's own tests: cases judged, and held against what they expect. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from outbound.policy import Result
from outbound.policy_cases import PolicyCase
from outbound.policy_judge import Hop, Judgement, judge
from outbound.policy_layers import LayerKind
from outbound.policy_set import PolicySet


@dataclass(frozen=True, slots=True)
class CaseResult:
    """`problem` is "" when the case passed, else one readable sentence."""

    case: PolicyCase
    judgement: Judgement
    problem: str

    @property
    def passed(self) -> bool:
        return not self.problem


def run_cases(policies: PolicySet, cases: Iterable[PolicyCase]) -> list[CaseResult]:
    """Judge each case in order."""
    results: list[CaseResult] = []
    for case in cases:
        judgement = judge(policies, case.request, case.caller, case.redirects)
        results.append(CaseResult(case, judgement, next(_problems(case, judgement), "")))
    return results


def verdict_words(judgement: Judgement) -> str:
    """`allow by rule 'web' of tenant:acme, policy.rule_allow`."""
    by = f"by rule {judgement.rule!r}" if judgement.rule else "by no rule"
    if judgement.layer not in ("", LayerKind.NAMESPACE):
        by += f" of {judgement.layer}"
    address = f" ({judgement.address})" if judgement.address else ""
    after = ""
    if judgement.followed:
        plural = "s" if judgement.followed > 1 else ""
        after = f" after {judgement.followed} redirect{plural}, of {judgement.last.request.url[:200]}"
    return f"{judgement.result.value} {by}, {judgement.reason.value}{address}{after}"


def _problems(case: PolicyCase, found: Judgement) -> Iterator[str]:
    expected, actual = case.expected, verdict_words(found)
    if found.result is not expected.result:
        yield f"expected {expected.result.value}, got {actual}"
    if expected.rule is not None and found.rule != expected.rule:
        yield f"expected rule {expected.rule!r}, got {actual}"
    if expected.layer is not None and found.layer != expected.layer:
        yield f"expected layer {expected.layer!r}, got {actual}, which is of layer {found.layer!r}"
    if expected.reason is not None and found.reason is not expected.reason:
        yield f"expected reason {expected.reason.value}, got {actual}"
    if expected.followed is not None and found.followed != expected.followed:
        yield f"expected {expected.followed} redirects to be followed, got {found.followed}: {actual}"
    if expected.followed is None and found.result is Result.ALLOW and found.followed < len(case.redirects):
        # Else the rest of the chain would look as if it had been judged.
        yield (
            f"the redirect to {case.redirects[found.followed].location[:200]} is handed to the worker, not followed: "
            f"say 'followed: {found.followed}' if that is right; {actual}"
        )
    if expected.sent or expected.removed:
        yield from _header_problems(case, found.last)


def _header_problems(case: PolicyCase, hop: Hop) -> Iterator[str]:
    if hop.result is Result.DENY:
        yield "expected headers to be sent, but nothing is: the request is denied"
        return
    sent: dict[str, list[str]] = {}
    for name, value in hop.headers:
        sent.setdefault(name.decode("latin-1"), []).append(value.decode("utf-8", "replace"))
    for wanted, text in case.expected.sent:
        if sent.get(wanted) != [text]:
            yield f"expected header {wanted}: {text!r}, got {', '.join(map(repr, sent.get(wanted, []))) or 'none'}"
    for wanted in case.expected.removed:
        if wanted in sent:
            yield f"expected no header {wanted}, got {', '.join(map(repr, sent[wanted]))}"
