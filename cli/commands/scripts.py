"""Workers that are deployed already: list, show, fetch back, delete."""

from __future__ import annotations

from typing import Any

import click

from cli.client import ApiClient
from cli.output import print_json, print_table, printable, say
from cli.params import (
    client_command,
    confirm,
    delete_unless_used,
    force_option,
    json_option,
    label,
    namespace_argument,
    plain,
    script_argument,
    yes_option,
)


@click.group(short_help="List, show and delete workers.")
def command() -> None:
    """Workers that are deployed. NS is a dispatch namespace, or `-` for the account's plain scripts
    (dispatch workers and whatever else is your own).

    \b
    Example:
      tenantry scripts list production
    """


@command.command("list")
@namespace_argument
@click.option("--tag", "tags", multiple=True, help="Only workers with this tag; repeatable.")
@json_option
@client_command
def list_(client: ApiClient, namespace: str, tags: tuple[str, ...], as_json: bool) -> None:
    """Show the workers of a dispatch namespace.

    \b
    Examples:
      tenantry scripts list production --tag plan:free
      tenantry scripts list -
    """
    query = {"tags": ",".join(f"{tag}:yes" for tag in tags)} if tags else None
    found = list(client.cursor_pages(client.script(plain(namespace)), query))
    if as_json:
        print_json(found)
        return
    rows = [
        (
            item.get("id"),
            item.get("tenant"),
            ", ".join(item.get("handlers") or []),
            ", ".join(item.get("tags") or []),
            item.get("modified_on"),
        )
        for item in found
    ]
    print_table(("name", "tenant", "handlers", "tags", "changed"), rows, empty="no worker there")


@command.command()
@namespace_argument
@script_argument
@json_option
@client_command
def get(client: ApiClient, namespace: str, script: str, as_json: bool) -> None:
    """Show one worker: its version, tags, limits and bindings (never a secret's value).

    \b
    Example:
      tenantry scripts get production hello --json
    """
    found = client.get(client.script(plain(namespace), script))
    settings = client.get(client.script(plain(namespace), script, "settings"))
    if as_json:
        print_json({**found, "settings": settings})
        return
    described: dict[str, Any] = {**found, **(found.get("script") or {})}
    say(f"worker    {label(plain(namespace), script)}")
    for title, key in (("tenant", "tenant"), ("version", "deployment_id"), ("etag", "etag")):
        if described.get(key):
            say(f"{title:9} {printable(described[key])}")
    say(f"handlers  {printable(', '.join(described.get('handlers') or []))}")
    if settings.get("tags"):
        say(f"tags      {printable(', '.join(settings['tags']))}")
    for name, value in (settings.get("limits") or {}).items():
        say(f"limit     {printable(name)} = {printable(value)}")
    for binding in settings.get("bindings") or []:
        say(f"binding   {printable(binding.get('name'))}: {printable(_describe(binding))}")
    say(f"changed   {printable(described.get('modified_on'))}")


def _describe(binding: dict[str, Any]) -> str:
    """A binding's type and what it leads to, from whichever field its type keeps that in."""
    for key in ("text", "json", "namespace_id", "queue_name", "service", "namespace"):
        if key in binding:
            return f"{binding.get('type')} {binding[key]}"
    return str(binding.get("type"))


@command.command()
@namespace_argument
@script_argument
@force_option
@yes_option
@client_command
def delete(client: ApiClient, namespace: str, script: str, force: bool, yes: bool) -> None:
    """Delete a worker and its secrets. What it stored in KV and queues stays.

    \b
    Example:
      tenantry scripts delete production hello
    """
    confirm(f"Delete the worker {label(plain(namespace), script)}?", yes)
    delete_unless_used(client, client.script(plain(namespace), script), force=force)
    say(f"deleted {label(plain(namespace), script)}")
