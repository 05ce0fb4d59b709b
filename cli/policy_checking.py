"""`tenantry policy check`: what is suspicious about policies that are not wrong."""

from __future__ import annotations

from pathlib import Path

import click

from cli.errors import ExitCode
from cli.output import note, print_json, printable, say
from cli.params import json_option
from cli.policy_files import FILE, LayerFlags, layer_options, load_policies


@click.command()
@click.argument("policy", type=FILE, metavar="POLICY")
@layer_options
@click.option("--strict", is_flag=True, help="Exit with 1 when something is found.")
@json_option
def check(
    policy: Path, layers: tuple[tuple[str, Path], ...], widen: tuple[str, ...], strict: bool, as_json: bool
) -> int:
    """Say what is suspicious about POLICY, a namespace's, and about the layers beside it: rules that never decide
    or have no effect, secrets that may reach strangers, networks opened too wide. Here, without a host.

    \b
    Examples:
      tenantry policy check policy.yaml --strict
      tenantry policy check policy.yaml --layer tenant:acme=acme.yaml --widen tenant:acme
    """
    from outbound.policy_check import lint
    from outbound.policy_layer_check import lint_layers

    loaded = load_policies(policy, LayerFlags(layers, widen))
    findings = [
        (layer.name, finding)
        for layer in loaded.policies.layers
        for finding in lint(layer.policy)
        if layer.name in loaded.files
    ]
    findings += lint_layers(loaded.policies.layers)
    if as_json:
        print_json(
            [
                {
                    "problem": finding.problem,
                    "layer": layer,
                    "file": str(loaded.files[layer]),
                    "rule": finding.rule,
                    "line": finding.line,
                    "message": finding.message,
                    "by": list(finding.by),
                }
                for layer, finding in findings
            ]
        )
    else:
        for layer, finding in findings:
            rule = f"rule {finding.rule!r} " if finding.rule else ""
            place = f"{loaded.files[layer]}:{finding.line}"
            say(printable(f"{place}: {rule}{finding.message} ({finding.problem.value})"))
        if not findings:
            note("found nothing suspicious")
    return ExitCode.REFUSED if strict and findings else ExitCode.OK
