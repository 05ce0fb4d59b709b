"""Dispatch namespaces: containers of tenants' workers, one for each environment."""

from __future__ import annotations

import click

from cli.client import ApiClient
from cli.errors import BadUsage
from cli.output import print_json, print_table, say
from cli.params import (
    NAMESPACE,
    SCRIPT,
    client_command,
    confirm,
    delete_unless_used,
    force_option,
    json_option,
    yes_option,
)


@click.group(short_help="List, make and delete dispatch namespaces.")
def command() -> None:
    """Dispatch namespaces hold your customers' workers: one namespace for each environment
    (production, staging), not one for each customer.

    \b
    Example:
      tenantry namespaces create production
    """


@command.command("list")
@json_option
@client_command
def list_(client: ApiClient, as_json: bool) -> None:
    """Show every dispatch namespace.

    \b
    Example:
      tenantry namespaces list --json
    """
    found = list(client.pages(client.path("workers", "dispatch", "namespaces")))
    if as_json:
        print_json(found)
        return
    rows = [
        (
            item.get("namespace_name"),
            item.get("script_count"),
            "yes" if item.get("trusted_workers") else "no",
            item.get("created_on"),
        )
        for item in found
    ]
    print_table(("name", "workers", "trusted", "made"), rows, empty="no dispatch namespace yet")


@command.command()
@click.argument("namespace", type=NAMESPACE, metavar="NS")
@click.option(
    "--trusted", is_flag=True, help="Its workers get real clocks, and request.cf. Only for code of your own."
)
@json_option
@client_command
def create(client: ApiClient, namespace: str, trusted: bool, as_json: bool) -> None:
    """Make a dispatch namespace.

    \b
    Example:
      tenantry namespaces create production
    """
    body: dict[str, object] = {"name": namespace}
    if trusted:
        body["trusted_workers"] = True
    made = client.post(client.path("workers", "dispatch", "namespaces"), body)
    if as_json:
        print_json(made)
    else:
        say(f"made dispatch namespace {namespace}")


@command.command()
@click.argument("namespace", type=NAMESPACE, metavar="NS")
@click.option("--service", type=SCRIPT, metavar="NAME", help="A worker of yours is asked.")
@click.option("--in", "within", type=NAMESPACE, metavar="NS", help="That worker's own dispatch namespace.")
@click.option("--hook", metavar="NAME", help="A hook of the host's --hooks is asked.")
@click.option(
    "--param", "params", multiple=True, metavar="NAME", help="What dispatchers may pass to it; repeatable."
)
@click.option("--none", "takes_away", is_flag=True, help="Nobody is asked any more.")
@client_command
def outbound(
    client: ApiClient,
    namespace: str,
    service: str | None,
    within: str | None,
    hook: str | None,
    params: tuple[str, ...],
    takes_away: bool,
) -> None:
    """Say who is asked before a request of a namespace's workers leaves: its outbound worker.

    Without --param dispatchers may pass it anything.

    \b
    Examples:
      tenantry namespaces outbound production --service guard --param plan
      tenantry namespaces outbound production --none
    """
    if (service is not None) + (hook is not None) + takes_away != 1:
        raise BadUsage("one of --service, --hook and --none is right")
    if (within is not None and service is None) or (params and takes_away):
        raise BadUsage("--in goes with --service, and --param with --service or --hook")
    wanted: dict[str, object] | None = None
    if not takes_away:
        given: dict[str, object | None] = {"service": service, "namespace": within, "hook": hook}
        wanted = {name: value for name, value in given.items() if value is not None}
        if params:
            wanted["params"] = [{"name": name} for name in params]
    client.put(client.path("workers", "dispatch", "namespaces", namespace), {"outbound": wanted})
    who = "nobody" if takes_away else f"hook {hook}" if service is None else f"worker {service}"
    say(f"{who} is asked before a request of namespace {namespace} leaves")


@command.command()
@click.argument("namespace", type=NAMESPACE, metavar="NS")
@force_option
@yes_option
@client_command
def delete(client: ApiClient, namespace: str, force: bool, yes: bool) -> None:
    """Delete a dispatch namespace; with --force, with all its workers, their routes, and its tenants' KV
    namespaces and queues.

    \b
    Example:
      tenantry namespaces delete staging
    """
    confirm(f"Delete dispatch namespace {namespace}?", yes)
    path = client.path("workers", "dispatch", "namespaces", namespace)
    delete_unless_used(client, path, force=force)
    say(f"deleted dispatch namespace {namespace}")
