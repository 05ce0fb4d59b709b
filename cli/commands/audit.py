"""What the outbound gateway decided about requests of workers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import click

from cli.client import ApiClient
from cli.errors import BadUsage, ExitCode
from cli.kept_policies import egress_path
from cli.output import print_json, print_table, printable, say, size
from cli.params import NAMESPACE_OR_DASH, SCRIPT, TENANT, client_command, json_option
from cli.times import unix_ms_text

POLL_S: Final = 1.0
_PAGE: Final = 1_000


@click.command(short_help="Show which requests left, and which were denied.")
@click.argument("namespace", type=NAMESPACE_OR_DASH, metavar="[NS]", required=False)
@click.option("--tenant", type=TENANT, help="Of this tenant.")
@click.option("--script", type=SCRIPT, help="Of this script.")
@click.option("--rule", help="Decided by the rule of this name.")
@click.option("--reason", help="For this reason, such as policy.default_deny.")
@click.option("--result", type=click.Choice(["allow", "deny"]), help="Decided so.")
@click.option("--host", help="To this host.")
@click.option("--ray", help="Of the event with this ray id.")
@click.option("--since", help="From then on: 30m, 6h, 2d ago, or a time such as 2026-11-24T17:53:17Z.")
@click.option("--until", help="Up to then.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, help="How many, the newest ones.")
@click.option("--follow", "-f", is_flag=True, help="Go on showing records as they come, until Ctrl-C.")
@json_option
@client_command
def command(
    client: ApiClient,
    /,
    namespace: str | None,
    limit: int,
    follow: bool,
    as_json: bool,
    **filters: str | None,
) -> int:
    """Show what was decided about requests that workers sent out, the oldest first. NS is a dispatch namespace,
    `-` is plain scripts; without it, all of the account. With --json: one JSON object a line.

    \b
    Examples:
      tenantry audit production --tenant acme --result deny --since 1d
      tenantry audit --ray 8f0e2a1b3c4d5e6f --json
    """
    path = (
        client.path("egress-audit") if namespace is None else egress_path(client, namespace, "egress-audit")
    )
    now_s = time.time()
    query = {
        **filters,
        "since": unix_ms_text(filters.get("since"), "--since", now_s),
        "until": unix_ms_text(filters.get("until"), "--until", now_s),
    }
    if follow and filters.get("until"):
        raise BadUsage("--follow and --until: what comes next is after every time that has been")
    found = list(client.cursor_pages(path, query, at_most=limit))
    found.reverse()
    _show(found, as_json, header=not follow)
    if follow:
        try:
            _follow(client, path, query, max((each["id"] for each in found), default=None), as_json)
        except KeyboardInterrupt:
            pass  # the way to end --follow, so no failure
    return ExitCode.OK


def _follow(
    client: ApiClient, path: str, query: Mapping[str, str | None], newest: int | None, as_json: bool
) -> None:
    # Where nothing was found all of it was looked at: what is found from the first on is new.
    cursor = str(newest or 0)
    while True:
        envelope = client.envelope("GET", path, {**query, "order": "asc", "limit": _PAGE, "cursor": cursor})
        found = envelope.get("result") or []
        _show(found, as_json, header=False)
        after = str((envelope.get("result_info") or {}).get("cursor") or cursor)
        if after == cursor:
            time.sleep(POLL_S)
        cursor = after


def _show(found: list[Any], as_json: bool, *, header: bool) -> None:
    if as_json:
        for each in found:
            print_json(each, lines=True)
        return
    if header:
        names = (
            "at",
            "ray",
            "tenant",
            "script",
            "result",
            "reason",
            "rule",
            "request",
            "status",
            "up",
            "down",
        )
        print_table(names, [_row(each) for each in found], empty="no record")
        return
    for each in found:
        say("  ".join(printable(cell) for cell in _row(each)))


def _row(each: Mapping[str, Any]) -> tuple[object, ...]:
    at = datetime.fromtimestamp(each["at_ms"] / 1000).astimezone().isoformat(sep=" ", timespec="milliseconds")
    place = f"{each['namespace'] or '-'}/{each['script']}"
    if each.get("outbound"):
        place += f" via {each['outbound']['worker']}"
    rule = f"{each['layer']}/{each['rule']}" if each["rule"] else each["layer"]
    request = f"{each['method']} {each['scheme']}://{each['host']}:{each['port']}{each['path']}"
    return (
        at,
        each["ray_id"],
        each["tenant"],
        place,
        each["result"],
        each["reason"],
        rule or "-",
        request if each["host"] else f"{each['method']} (no URL)",
        each["status"] or "-",
        size(each["bytes_up"]),
        size(each["bytes_down"]),
    )
