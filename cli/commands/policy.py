"""Egress policies: set and shown through the API, tested and explained here."""

from __future__ import annotations

import click

from cli.kept_policies import COMMANDS
from cli.policy_checking import check
from cli.policy_explaining import explain
from cli.policy_replaying import replay
from cli.policy_testing import coverage, test


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


for _command in (*COMMANDS, test, coverage, check, explain, replay):
    command.add_command(_command)
