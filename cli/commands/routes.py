"""Routes: which hostname, path and headers lead to which worker."""

from __future__ import annotations

from typing import Any

import click

from cli.client import ApiClient
from cli.errors import BadUsage
from cli.output import print_json, print_table, printable, say
from cli.params import NAMESPACE_OR_DASH, SCRIPT, client_command, header_pair, json_option, label, plain
from model.hostname import InvalidHostname, parse_pattern


@click.group(short_help="Say which requests reach which worker.")
def command() -> None:
    """Routes lead a hostname, and if need be a path prefix and headers, to a worker.

    An exact hostname wins over a wildcard, a longer wildcard over a shorter one, then a longer path,
    then more header conditions. Two routes that would tie are refused when the second is made.

    \b
    Example:
      tenantry routes add '*.shop.example' --namespace production --script shop
    """


def hostname_pattern(text: str) -> str:
    """The one spelling of a hostname or wildcard. Raises BadUsage."""
    try:
        return parse_pattern(text)
    except InvalidHostname as error:
        raise BadUsage(f"hostname {printable(text[:80])!r}: {error}") from None


def describe_target(route: dict[str, Any]) -> str:
    target = route.get("target") or {}
    if target.get("hook"):
        return f"hook {target['hook']}"
    return label(target.get("namespace"), str(target.get("script")))


@command.command("list")
@click.option("--hostname", help="Only routes of exactly this hostname or wildcard.")
@json_option
@client_command
def list_(client: ApiClient, hostname: str | None, as_json: bool) -> None:
    """Show routes, with the id that `routes delete` takes.

    \b
    Example:
      tenantry routes list --hostname shop.example
    """
    found = find_routes(client, None if hostname is None else hostname_pattern(hostname))
    if as_json:
        print_json(found)
        return
    rows = [
        (
            route.get("id"),
            route.get("hostname"),
            route.get("path_prefix") or "/",
            ", ".join(f"{h.get('name')}={h.get('value')}" for h in route.get("headers") or []),
            describe_target(route),
        )
        for route in found
    ]
    print_table(("id", "hostname", "path", "headers", "worker"), rows, empty="no route there")


def find_routes(client: ApiClient, pattern: str | None) -> list[dict[str, Any]]:
    """The routes of one hostname pattern, or all (None)."""
    found = client.pages(client.path("workers", "dispatch", "routes"), {"hostname": pattern})
    # A host that knows no filter answers with all of them.
    return [route for route in found if pattern is None or route.get("hostname") == pattern]


@command.command()
@click.argument("hostname", metavar="HOST")
@click.option("--path", help="Only paths below this one: /api means /api and /api/…, not /apifoo.")
@click.option(
    "--header",
    "headers",
    type=header_pair(),
    multiple=True,
    help="Only requests with this header, exactly once and with exactly this value; repeatable. "
    "The hostname needs `routes enable-headers` first.",
)
@click.option(
    "--namespace", type=NAMESPACE_OR_DASH, default="-", metavar="NS", help="Of the worker; - for plain."
)
@click.option("--script", type=SCRIPT, metavar="NAME", help="The worker it leads to.")
@click.option("--hook", metavar="NAME", help="Instead of a worker: a hook of the host (`serve --hooks`).")
@json_option
@client_command
def add(
    client: ApiClient,
    hostname: str,
    path: str | None,
    headers: tuple[tuple[str, str], ...],
    namespace: str,
    script: str | None,
    hook: str | None,
    as_json: bool,
) -> None:
    """Lead a hostname to a worker. HOST is a hostname, a wildcard (*.shop.example) or *.

    \b
    Examples:
      tenantry routes add shop.example --namespace production --script shop
      tenantry routes add '*.shop.example' --path /api --script api
      tenantry routes add shop.example --header X-Beta=1 --namespace staging --script shop
    """
    if (script is None) == (hook is None):
        raise BadUsage(
            "a route leads to one thing: give --script or --hook", hint="tenantry routes add --help"
        )
    target = {"hook": hook} if script is None else target_of(plain(namespace), script)
    body: dict[str, object] = {"hostname": hostname_pattern(hostname), "target": target}
    if path:
        body["path_prefix"] = path
    if headers:
        body["headers"] = [{"name": name, "value": value} for name, value in headers]
    made = client.post(client.path("workers", "dispatch", "routes"), body)
    if as_json:
        print_json(made)
    else:
        leads_to = f"hook {hook}" if script is None else label(plain(namespace), script)
        say(f"route {made['id']}: {made['hostname']}{path or ''} → {leads_to}")


def target_of(namespace: str | None, script: str) -> dict[str, str]:
    return {"script": script} if namespace is None else {"namespace": namespace, "script": script}


@command.command()
@click.argument("route_id", metavar="ID")
@client_command
def delete(client: ApiClient, route_id: str) -> None:
    """Delete the route with this id (`routes list` shows it).

    \b
    Example:
      tenantry routes delete 4f0c2f6c6f1b4d3c8f3f0f6a2f1e9b7d
    """
    client.delete(client.path("workers", "dispatch", "routes", route_id))
    say(f"deleted route {printable(route_id)}")


@command.command("enable-headers")
@click.argument("hostname", metavar="HOST")
@click.option("--off", is_flag=True, help="Disable them again.")
@client_command
def enable_headers(client: ApiClient, hostname: str, off: bool) -> None:
    """Let routes of this hostname depend on headers.

    Off by default, since whoever sends a request chooses its headers: enable them where your own
    front sets them, or where any visitor may choose.

    \b
    Example:
      tenantry routes enable-headers shop.example
    """
    pattern = hostname_pattern(hostname)
    client.put(client.path("workers", "dispatch", "hostnames", pattern), {"header_routes": not off})
    say(f"header routes of {pattern} are {'off' if off else 'on'}")
