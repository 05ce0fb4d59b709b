"""The machines of a platform, as they say of themselves."""

from __future__ import annotations

import click

from cli.client import ApiClient
from cli.output import print_json, print_table
from cli.params import client_command, json_option


@click.command(short_help="List the machines of the platform, and how far each is.")
@json_option
@client_command
def command(client: ApiClient, as_json: bool) -> None:
    """Show who is part of the platform: hosts that name the same --database. A machine tells of itself every 10 s; one
    that was stopped stays in the list. `at` is its last entry of the control data's log, `lag` how many it lacked then.

    \b
    Example:
      tenantry machines
    """
    found = list(client.get(client.path("machines")))
    if as_json:
        print_json(found)
        return
    print_table(
        ("id", "host", "seen", "control at", "lag", "tokens at", "lag", "root key"),
        [
            (
                machine["id"],
                machine["name"],
                f"{machine['seen_s_ago']:.0f} s ago",
                *(cell for name in ("control", "tokens") for cell in _position(machine, name)),
                next(iter(machine["root_key_ids"]), "–"),
            )
            for machine in found
        ],
        empty="this host is alone: it names no --database",
    )


def _position(machine: dict[str, list[dict[str, object]]], name: str) -> tuple[object, object]:
    for row in machine["files"]:
        if row["file"] == name:
            return row["seq"], row["lag"]
    return "–", "–"
