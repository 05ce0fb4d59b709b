"""`tenantry policy test` and `coverage`: a policy's own cases, judged here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.errors import CliError, ExitCode
from cli.junit import TestCase, junit_document
from cli.output import print_json, printable, say
from cli.params import json_option
from cli.policy_files import FILE, LayerFlags, LoadedCases, layer_options, load_cases

if TYPE_CHECKING:
    from outbound.policy_tests import CaseResult


@dataclass(frozen=True, slots=True)
class FileResults:
    cases: LoadedCases
    results: Sequence[CaseResult]


@click.command()
@click.argument("files", type=FILE, nargs=-1, required=True, metavar="[POLICY] CASES...")
@layer_options
@click.option("--junit", type=FILE, help="Write the results as JUnit XML too.")
@json_option
def test(
    files: tuple[Path, ...],
    layers: tuple[tuple[str, Path], ...],
    widen: tuple[str, ...],
    junit: Path | None,
    as_json: bool,
) -> int:
    """Judge the requests in CASES by POLICY, here, without a network and without a host.

    CASES alone name the policies that judge them, in `layers`. Exit code 0 when every case passed, 1 when one
    did not, 2 when a file is wrong. A case says what should happen:

    \b
      cases:
        - name: payments may be posted to
          request: {method: POST, url: "https://api.example.com/v1/pay"}
          dns: [93.184.216.34]
          expected: allow

    \b
    Examples:
      tenantry policy test policy.yaml cases.yaml --junit build/policy.xml
      tenantry policy test policy.yaml cases.yaml --layer tag:plan:free=free.yaml
      tenantry policy test shop.policy.yaml
    """
    found = run_files(files, LayerFlags(layers, widen))
    results = [result for each in found for result in each.results]
    failed = [result for result in results if not result.passed]
    if junit is not None:
        _write_junit(junit, found)
    if as_json:
        print_json([_as_json(each.cases.file, result) for each in found for result in each.results])
    else:
        for each in found:
            _show(each, several=len(found) > 1)
        say(f"{len(results) - len(failed)} of {len(results)} passed")
    return ExitCode.REFUSED if failed else ExitCode.OK


@click.command()
@click.argument("files", type=FILE, nargs=-1, required=True, metavar="[POLICY] CASES...")
@layer_options
@click.option(
    "--min",
    "least",
    type=click.FloatRange(0, 100),
    help="Exit with 1 when fewer per cent of the rules are touched.",
)
@json_option
def coverage(
    files: tuple[Path, ...],
    layers: tuple[tuple[str, Path], ...],
    widen: tuple[str, ...],
    least: float | None,
    as_json: bool,
) -> int:
    """Name the rules that no case touches: those that decide about no request in CASES. A rule behind others
    that always match first is never touched. Whether cases pass is `tenantry policy test`'s to say.

    \b
    Example:
      tenantry policy coverage policy.yaml cases.yaml --min 100
    """
    from outbound.policy_coverage import coverage as covered

    found = run_files(files, LayerFlags(layers, widen))
    result = covered((each.cases.loaded.policies, [one.judgement for one in each.results]) for each in found)
    where = {
        (layer.name, layer.policy.version): each.cases.loaded.files.get(layer.name)
        for each in found
        for layer in each.cases.loaded.policies.layers
    }
    touched = len(result.rules) - len(result.untouched)
    if as_json:
        rules = [
            {
                "layer": use.layer,
                "rule": use.rule.name,
                "file": str(where[use.layer, use.version]),
                "line": use.rule.line,
                "requests": use.requests,
            }
            for use in result.rules
        ]
        print_json({"per_cent": round(result.per_cent, 1), "rules": rules})
    else:
        for use in result.untouched:
            of = "" if use.layer == "namespace" else f" of {use.layer}"
            file = where[use.layer, use.version]
            say(printable(f"{file}:{use.rule.line}: no case touches rule {use.rule.name!r}{of}"))
        say(f"{touched} of {len(result.rules)} rules touched, {result.per_cent:.1f} %")
    return ExitCode.REFUSED if least is not None and result.per_cent < least else ExitCode.OK


def run_files(files: Sequence[Path], flags: LayerFlags) -> list[FileResults]:
    """Raises BadUsage naming the file, line, column and field that are wrong."""
    from outbound.policy_tests import run_cases

    return [
        FileResults(each, run_cases(each.loaded.policies, each.cases)) for each in load_cases(files, flags)
    ]


def _show(found: FileResults, *, several: bool) -> None:
    from outbound.policy_tests import verdict_words

    if several:
        say(printable(f"{found.cases.file}:"))
    for result in found.results:
        if result.passed:
            say(printable(f"pass  {result.case.name}: {verdict_words(result.judgement)}"))
            continue
        case = result.case
        say(printable(f"FAIL  {case.name}"))
        say(printable(f"      {found.cases.file}:{case.line}: {case.request.method} {case.request.url}"))
        say(f"      {printable(result.problem)}")


def _as_json(file: Path, result: CaseResult) -> dict[str, object]:
    found = result.judgement
    return {
        "file": str(file),
        "name": result.case.name,
        "line": result.case.line,
        "request": f"{result.case.request.method} {result.case.request.url}",
        "passed": result.passed,
        "problem": result.problem,
        "result": found.result,
        "rule": found.rule,
        "layer": found.layer,
        "reason": found.reason,
        "address": found.address,
        "followed": found.followed,
    }


def _write_junit(file: Path, found: Sequence[FileResults]) -> None:
    rows = [
        TestCase(result.case.name, str(each.cases.file), result.case.line, result.problem)
        for each in found
        for result in each.results
    ]
    policies = dict.fromkeys(str(path) for each in found for path in each.cases.loaded.files.values())
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(junit_document(f"egress policy {', '.join(policies)}", rows), encoding="utf-8")
    except OSError as error:
        raise CliError(f"cannot write {file}: {error.strerror}") from error
