"""What a worker wrote: by `log`, to stdout, to stderr."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import click

from cli.client import ApiClient
from cli.errors import ExitCode, Unreachable
from cli.output import indented, note, print_json, printable, say
from cli.params import client_command, json_option, namespace_argument, plain, script_argument

WAIT_MS = 20_000
#: A host that restarts is back within this.
PATIENCE_S = 60.0
#: By `level` of a line: guest-abi's 0 debug … 4 error.
LEVELS = ("debug", "info", "notice", "warn", "error")


@click.command(short_help="Show what a worker wrote.")
@namespace_argument
@script_argument
@click.option("--follow", "-f", is_flag=True, help="Go on showing lines as they come, until Ctrl-C.")
@json_option
@client_command
def command(client: ApiClient, namespace: str, script: str, follow: bool, as_json: bool) -> int:
    """Show the last lines a worker wrote, in all processes. NS is a dispatch namespace, or `-` for plain
    scripts. With --json: one JSON object a line.

    \b
    Examples:
      tenantry logs production hello --follow
      tenantry logs - router --json | jq .text
    """
    path = client.script(plain(namespace), script, "logs")
    try:
        cursor = _show(client.get(path, {"after": 0}), as_json)
        while follow:
            cursor = _show(_poll(client, path, cursor), as_json)
    except KeyboardInterrupt:
        # The way to end --follow, so no failure.
        if not follow:
            raise
    return ExitCode.OK


def _show(result: dict[str, Any], as_json: bool) -> int:
    for line in result["lines"]:
        if as_json:
            print_json(line, lines=True)
        else:
            say(_readable(line))
    return int(result["cursor"])


def _readable(line: dict[str, Any]) -> str:
    at = datetime.fromtimestamp(line["at_ms"] / 1000).astimezone().strftime("%H:%M:%S.%f")[:-3]
    word = level_name(line.get("level"))
    return f"{at} {word:6} {printable(line.get('ray_id'))} {indented(line['text'])}"


def level_name(level: object) -> str:
    return LEVELS[level] if isinstance(level, int) and 0 <= level < len(LEVELS) else printable(level)


def _poll(client: ApiClient, path: str, cursor: int) -> dict[str, Any]:
    """Lines after `cursor`, as soon as there are any. A host that restarts is waited for."""
    given_up_s = time.monotonic() + PATIENCE_S
    told = False
    while True:
        try:
            query = {"after": cursor, "wait_ms": WAIT_MS}
            result: dict[str, Any] = client.get(path, query, timeout_s=WAIT_MS / 1000 + 15)
            return result
        except Unreachable as error:
            if time.monotonic() >= given_up_s:
                raise
            if not told:
                note(f"{error.message}; trying again for {PATIENCE_S:.0f} s")
                told = True
            time.sleep(0.5)
