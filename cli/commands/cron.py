"""When a worker's scheduled handler runs by itself, and how that went."""

from __future__ import annotations

from typing import Any

import click

from cli.client import ApiClient
from cli.errors import BadUsage
from cli.output import print_json, print_table, printable, say
from cli.params import client_command, json_option, label, namespace_argument, plain, script_argument
from model.cron_syntax import InvalidCron, parse_cron


@click.group(short_help="Run a worker's scheduled handler at its times.")
def command() -> None:
    """Cron triggers: five fields (minute, hour, day of month, month, day of week), in UTC.

    \b
    Examples:
      tenantry cron set production report '*/15 8-18 * * mon-fri'
      tenantry cron history production report
    """


@command.command("list")
@namespace_argument
@script_argument
@json_option
@client_command
def list_(client: ApiClient, namespace: str, script: str, as_json: bool) -> None:
    """Show a worker's schedules.

    \b
    Example:
      tenantry cron list production report
    """
    found = client.get(client.script(plain(namespace), script, "schedules")) or {}
    schedules: list[dict[str, Any]] = found.get("schedules") or []
    if as_json:
        print_json(schedules)
        return
    print_table(
        ("cron", "since"),
        [(s.get("cron"), s.get("created_on")) for s in schedules],
        empty="no schedule there",
    )


@command.command("set")
@namespace_argument
@script_argument
@click.argument("crons", metavar="[CRON]...", nargs=-1)
@json_option
@client_command
def set_(client: ApiClient, namespace: str, script: str, crons: tuple[str, ...], as_json: bool) -> None:
    """Make these all of a worker's schedules; none: it has no more. Quote them, or the shell expands `*`.

    Days of the week are 1 (Sunday) to 7, or sun to sat. L is the last day of a month, 15W its weekday nearest to the
    15th, 6L its last Friday, 2#1 its first Monday.

    \b
    Examples:
      tenantry cron set production report '0 3 * * *' '0 12 L * *'
      tenantry cron set production report
    """
    for cron in crons:
        try:
            parse_cron(cron)
        except InvalidCron as error:
            raise BadUsage(f"CRON {printable(str(error))}") from None
    path = client.script(plain(namespace), script, "schedules")
    result = client.put(path, [{"cron": cron} for cron in crons]) or {}
    if as_json:
        print_json(result.get("schedules") or [])
        return
    count = len(result.get("schedules") or [])
    say(f"{label(plain(namespace), script)}: {count} schedule{'' if count == 1 else 's'}")


@command.command()
@namespace_argument
@script_argument
@click.option("--cron", metavar="CRON", help="Only the runs of this expression.")
@click.option(
    "--limit", type=click.IntRange(1, 100), default=20, show_default=True, help="How many, at the most."
)
@json_option
@client_command
def history(
    client: ApiClient, namespace: str, script: str, cron: str | None, limit: int, as_json: bool
) -> None:
    """Show the latest runs, the newest first.

    \b
    Example:
      tenantry cron history production report --limit 5
    """
    path = client.script(plain(namespace), script, "schedules", "history")
    runs: list[dict[str, Any]] = client.get(path, {"cron": cron, "limit": limit}) or []
    if as_json:
        print_json(runs)
        return
    rows = [
        (
            run.get("scheduled_time"),
            run.get("cron"),
            run.get("outcome") or "runs",
            _seconds(run.get("late_ms")),
            run.get("missed"),
            _seconds(run.get("wall_ms")),
            run.get("error") or "",
        )
        for run in runs
    ]
    print_table(("due", "cron", "outcome", "late", "missed", "took", "error"), rows, empty="no run yet")


def _seconds(ms: object) -> str:
    return f"{ms / 1000:.1f} s" if isinstance(ms, int) else ""
