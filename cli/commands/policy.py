"""Egress policies: set and shown through the API, tested here without a network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.errors import BadUsage, CliError, ExitCode
from cli.junit import TestCase, junit_document
from cli.kept_policies import COMMANDS, check_policy, read_policy_text
from cli.output import note, print_json, printable, say
from cli.params import json_option

if TYPE_CHECKING:
    from outbound.policy_tests import CaseResult


@click.group(short_help="Say where workers may connect to, and test it.")
def command() -> None:
    """An egress policy says which requests may leave the workers of a dispatch namespace; NS `-` is for
    plain scripts. Until one is set, none may. Tags and tenants may have policies of their own beside it,
    and what leaves must be allowed by each. Addresses inside your network stay closed whatever a rule says,
    unless the rule opens them by CIDR.

    \b
    Example:
      tenantry policy test policy.yaml cases.yaml && tenantry policy set production policy.yaml
    """


for _kept in COMMANDS:
    command.add_command(_kept)


@command.command()
@click.argument("policy", type=click.Path(path_type=Path), metavar="POLICY")
@click.argument("cases", type=click.Path(path_type=Path), metavar="CASES")
@click.option("--junit", type=click.Path(path_type=Path), help="Write the results as JUnit XML too.")
@json_option
def test(policy: Path, cases: Path, junit: Path | None, as_json: bool) -> int:
    """Judge the requests in CASES by POLICY, here, without a network and without a host.

    Exit code 0 when every case passed, 1 when one did not, 2 when a file is wrong. A case says what
    should happen:

    \b
      cases:
        - name: payments may be posted to
          request: {method: POST, url: "https://api.example.com/v1/pay"}
          dns: [93.184.216.34]
          expected: allow

    \b
    Example:
      tenantry policy test policy.yaml cases.yaml --junit build/policy.xml
    """
    results = run_cases(policy, cases)
    failed = [result for result in results if not result.passed]
    if junit is not None:
        _write_junit(junit, policy, cases, results)
    if as_json:
        print_json([_as_json(result) for result in results])
    else:
        for result in results:
            say(f"{'pass' if result.passed else 'FAIL'}  {printable(result.case.name)}")
            if not result.passed:
                case = result.case
                say(f"      line {case.line}: {printable(case.method)} {printable(case.url)}")
                say(f"      {printable(result.problem)}")
        say(f"{len(results) - len(failed)} of {len(results)} passed")
    return ExitCode.REFUSED if failed else ExitCode.OK


@command.command()
@click.argument("policy", type=click.Path(path_type=Path), metavar="POLICY")
@click.option("--strict", is_flag=True, help="Exit with 1 when something is found.")
@json_option
def check(policy: Path, strict: bool, as_json: bool) -> int:
    """Say what is suspicious about POLICY: rules that never decide, secrets that may reach strangers,
    networks opened too wide. Here, without a host.

    \b
    Example:
      tenantry policy check policy.yaml --strict
    """
    from outbound.policy_check import lint
    from outbound.policy_parse import PolicyError, parse_policy

    try:
        findings = lint(parse_policy(read_policy_text(policy, "policy")))
    except PolicyError as error:
        raise BadUsage(f"{policy}: {error}") from None
    if as_json:
        print_json(
            [
                {
                    "problem": finding.problem,
                    "rule": finding.rule,
                    "line": finding.line,
                    "message": finding.message,
                    "by": list(finding.by),
                }
                for finding in findings
            ]
        )
    else:
        for finding in findings:
            rule = f"rule {finding.rule!r} " if finding.rule else ""
            say(printable(f"{policy}:{finding.line}: {rule}{finding.message} ({finding.problem.value})"))
        if not findings:
            note("found nothing suspicious")
    return ExitCode.REFUSED if strict and findings else ExitCode.OK


def run_cases(policy: Path, cases: Path) -> Sequence[CaseResult]:
    """Raises BadUsage naming the file, line, column and field that are wrong."""
    from outbound.policy_parse import PolicyError
    from outbound.policy_tests import parse_cases, run_policy_cases

    policy_text, cases_text = read_policy_text(policy, "policy"), read_policy_text(cases, "cases")
    check_policy(policy, policy_text)
    try:
        parse_cases(cases_text)
        return run_policy_cases(policy_text, cases_text)
    except PolicyError as error:
        raise BadUsage(f"{cases}: {error}") from None


def _as_json(result: CaseResult) -> dict[str, object]:
    return {
        "name": result.case.name,
        "line": result.case.line,
        "passed": result.passed,
        "problem": result.problem,
        "result": result.judgement.result,
        "rule": result.judgement.rule,
        "reason": result.judgement.reason,
        "address": result.judgement.address,
    }


def _write_junit(file: Path, policy: Path, cases: Path, results: Sequence[CaseResult]) -> None:
    rows = [TestCase(result.case.name, str(cases), result.case.line, result.problem) for result in results]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(junit_document(f"egress policy {policy}", rows), encoding="utf-8")
    except OSError as error:
        raise CliError(f"cannot write {file}: {error.strerror}") from error
