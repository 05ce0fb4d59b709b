"""Runs a worker's handler now, for what would else wait for its time."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import click

from cli.client import ApiClient
from cli.errors import BadUsage, ExitCode
from cli.output import note, print_json, printable, say
from cli.params import client_command, json_option, label, namespace_argument, plain, script_argument

#: A tick may run for 15 minutes, and the host answers when it is over.
TIMEOUT_S = 16 * 60.0


@click.group(short_help="Run a worker's scheduled handler now.")
def command() -> None:
    """Send a worker an event that no visitor sends.

    \b
    Example:
      tenantry trigger scheduled production report
    """


@command.command()
@namespace_argument
@script_argument
@click.option("--cron", default="* * * * *", show_default=True, help="The expression the worker is told.")
@click.option(
    "--time", "at", metavar="TIME", help="The due time it is told: ISO 8601, or UNIX ms; now by default."
)
@json_option
@client_command
def scheduled(
    client: ApiClient, namespace: str, script: str, cron: str, at: str | None, as_json: bool
) -> int:
    """Run the scheduled handler once and wait for its end. Exit code 1 when it did not end well.

    \b
    Examples:
      tenantry trigger scheduled production report
      tenantry trigger scheduled production report --cron '0 3 * * *' --time 2026-01-31T03:00:00Z
    """
    body = {"kind": "scheduled", "cron": cron, "scheduled_time_ms": scheduled_time_ms(at)}
    path = client.script(plain(namespace), script, "trigger")
    result: dict[str, Any] = client.post(path, body, timeout_s=TIMEOUT_S) or {}
    outcome = str(result.get("outcome", "ok"))
    if as_json:
        print_json(result)
    else:
        cpu = f", {result['cpu_us'] / 1000:.1f} ms of CPU" if isinstance(result.get("cpu_us"), int) else ""
        error = f": {printable(result['error'])}" if result.get("error") else ""
        say(f"{label(plain(namespace), script)}: {printable(outcome)}{cpu}{error}")
        if outcome != "ok":
            note(f"what it wrote: tenantry logs {namespace} {script}")
    return ExitCode.OK if outcome == "ok" else ExitCode.REFUSED


def scheduled_time_ms(text: str | None) -> int:
    """UNIX ms of an ISO 8601 time (local without a zone) or of digits; now for None. Raises BadUsage."""
    if text is None:
        return time.time_ns() // 1_000_000
    if text.isascii() and text.isdigit() and len(text) <= 16:
        return int(text)
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise BadUsage(
            f"--time {text[:40]!r} is no time; right would be 2026-01-31T03:00:00Z or UNIX milliseconds"
        ) from None
