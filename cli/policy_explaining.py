"""`tenantry policy explain`: how a decision comes about, rule by rule."""

from __future__ import annotations

import asyncio
import ipaddress
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.client import ApiClient
from cli.errors import BadUsage, CliError, ExitCode
from cli.explained_requests import lines, to_json
from cli.fetched_policies import FetchedPolicies
from cli.output import print_json, printable, say
from cli.params import (
    NAMESPACE_OR_DASH,
    SCRIPT,
    TAG,
    TENANT,
    header_pair,
    json_option,
    lazy_client_command,
    pair,
    plain,
)
from cli.policy_files import FILE, LayerFlags, layer_options, load_policies

if TYPE_CHECKING:
    from model.call_egress import EgressHosts
    from outbound.addresses import AddressRanges
    from outbound.policy_set import PolicySet


class _Address(click.ParamType[str]):
    name = "ADDRESS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return str(ipaddress.ip_address(value))
        except ValueError:
            self.fail(f"{value[:60]!r} is no IPv4 or IPv6 address", param, ctx)


@click.command()
@click.argument("target", metavar="URL")
@click.option("--policy", type=FILE, help="The namespace's policy, from this file; no host is asked.")
@layer_options
@click.option("--namespace", type=NAMESPACE_OR_DASH, metavar="NS", help="Whose policies to ask the host for.")
@click.option("--tenant", type=TENANT, required=True, help="Whose worker asks.")
@click.option("--script", type=SCRIPT, help="Which script asks.")
@click.option("--tag", "tags", type=TAG, multiple=True, help="A tag of that script.")
@click.option("--param", "params", type=pair("VALUE", str), multiple=True, help="Given by the dispatcher.")
@click.option(
    "--egress", multiple=True, metavar="HOST", help="The dispatcher narrowed the call to this host."
)
@click.option("--method", default="GET", help="GET by default.")
@click.option("--header", "headers", type=header_pair(), multiple=True, help="Sent by the worker.")
@click.option("--dns", type=_Address(), multiple=True, help="The name leads to this address.")
@click.option("--resolve", is_flag=True, help="Ask this machine's DNS servers where the name leads.")
@click.option("--all", "whole", is_flag=True, help="Show rules for other hosts too.")
@json_option
@lazy_client_command
def explain(
    connect: Callable[[], ApiClient],
    /,
    target: str,
    policy: Path | None,
    layers: tuple[tuple[str, Path], ...],
    widen: tuple[str, ...],
    namespace: str | None,
    tenant: str,
    script: str | None,
    tags: tuple[str, ...],
    params: tuple[tuple[str, str], ...],
    egress: tuple[str, ...],
    method: str,
    headers: tuple[tuple[str, str], ...],
    dns: tuple[str, ...],
    resolve: bool,
    whole: bool,
    as_json: bool,
) -> int:
    """Show how it is decided whether a worker of a tenant may send a request to URL: every rule that is asked, with
    the first condition that does not hold, then what the rule that decides does, then where the name leads.

    The policies are those in force in --namespace, or files. Exit code 0 when the request may leave, 1 when not.

    \b
    Examples:
      tenantry policy explain https://api.example.com/v1 --tenant acme --namespace production --resolve
      tenantry policy explain https://api.example.com/v1 --tenant acme --policy policy.yaml --dns 10.0.0.7
    """
    from outbound.addresses import AddressRanges
    from outbound.policy_explain import explain_request
    from outbound.policy_judge import Caller, Request

    if dns and resolve:
        raise BadUsage("--dns and --resolve: where the name leads comes from one of them")
    caller = Caller(tenant, script or "", plain(namespace or "-") or "", tags, dict(params), _hosts(egress))
    policies = _policies(connect, policy, LayerFlags(layers, widen), namespace, tenant, tags)
    try:
        "".join((target, method, *(value for _, value in params))).encode()
    except UnicodeEncodeError:
        raise BadUsage("URL, --method and --param are text: a byte of them is no UTF-8") from None
    sent = tuple((os.fsencode(name), os.fsencode(value)) for name, value in headers)
    answers, ranges = _resolved(target) if resolve else (dns or None, AddressRanges())
    found = explain_request(policies, Request(target, method, sent, answers), caller, ranges)
    if as_json:
        print_json(to_json(found))
    else:
        for line in lines(found, whole=whole):
            say(printable(line))
    return ExitCode.OK if found.allowed else ExitCode.REFUSED


def _hosts(egress: tuple[str, ...]) -> EgressHosts | None:
    from model.call_egress import parse_egress_hosts
    from model.hostname import InvalidHostname

    try:
        return parse_egress_hosts(egress) if egress else None
    except InvalidHostname as error:
        raise BadUsage(f"--egress: {error}") from None


def _policies(
    connect: Callable[[], ApiClient],
    policy: Path | None,
    flags: LayerFlags,
    namespace: str | None,
    tenant: str,
    tags: Sequence[str],
) -> PolicySet:
    if policy is not None or flags.layers:
        return load_policies(policy, flags).policies
    if flags.widen:
        raise BadUsage("--widen goes with --layer; the host knows which of its layers widen")
    if namespace is None:
        raise BadUsage("name what to judge by: --namespace NS of a host, or --policy FILE")
    return FetchedPolicies(connect(), namespace).holding([tenant], tags)


def _resolved(url: str) -> tuple[tuple[str, ...] | None, AddressRanges]:
    """What this machine's DNS servers say, asked as the gateway asks, and this machine's own addresses."""
    from outbound.addresses import AddressRanges
    from outbound.host_addresses import host_addresses
    from outbound.resolver import NameNotFound, ResolveError, Resolver
    from outbound.target import InvalidTarget, parse_target

    async def ask(host: str) -> tuple[str, ...]:
        resolver = Resolver()
        try:
            return (await resolver.resolve(host)).addresses
        except NameNotFound:
            return ()
        finally:
            await resolver.close()

    ranges = AddressRanges(own=host_addresses())
    try:
        target = parse_target(url)
        return (None if target.is_ip else asyncio.run(ask(target.host))), ranges
    except InvalidTarget:
        return None, ranges  # which the judgement says
    except ResolveError as error:
        raise CliError(str(error)) from None
