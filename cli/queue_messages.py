"""`tenantry queues send`, `peek`, `pull` and `ack`: what is in a queue."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from cli.client import ApiClient
from cli.errors import BadUsage
from cli.output import note, print_json, print_table, printable, say
from cli.params import client_command, json_option
from cli.resources import queue_id

queue_argument = click.argument("queue", metavar="QUEUE")
#: Characters of a message in a table.
_BODY_SHOWN: Final = 100


@click.command()
@queue_argument
@click.argument("body")
@click.option(
    "--content-type", type=click.Choice(["json", "text"]), default="json", show_default=True, help="Of BODY."
)
@click.option("--delay", type=click.IntRange(0, 43_200), help="Seconds before it may be delivered.")
@client_command
def send(client: ApiClient, queue: str, body: str, content_type: str, delay: int | None) -> None:
    """Send one message. BODY is JSON, or text with --content-type text; - reads it from stdin.

    \b
    Examples:
      tenantry queues send orders '{"id": 7}'
      tenantry queues send orders --content-type text "order 7"
    """
    text = _read_stdin() if body == "-" else body
    value: object = text
    if content_type == "json":
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BadUsage(f"BODY is no JSON: {error}", hint="for plain text: --content-type text") from None
    message: dict[str, object] = {"body": value, "content_type": content_type}
    if delay is not None:
        message["delay_seconds"] = delay
    client.post(client.path("queues", queue_id(client, queue), "messages"), message)
    note(f"sent to {printable(queue)}")


@click.command()
@queue_argument
@click.option(
    "--batch-size", type=click.IntRange(1, 100), default=5, show_default=True, help="Most messages."
)
@json_option
@client_command
def peek(client: ApiClient, queue: str, batch_size: int, as_json: bool) -> None:
    """Show the oldest messages, whether they may be delivered or not. They stay as they are.

    \b
    Example:
      tenantry queues peek orders
    """
    path = client.path("queues", queue_id(client, queue), "messages", "peek")
    _show_messages(client.post(path, {"batch_size": batch_size})["messages"], as_json, "ref")


@click.command()
@queue_argument
@click.option("--batch-size", type=click.IntRange(1, 100), help="Most messages (the consumer's).")
@click.option(
    "--visibility-timeout-ms",
    type=click.IntRange(1, 43_200_000),
    help="How long they are nobody else's, in ms (the consumer's).",
)
@json_option
@client_command
def pull(
    client: ApiClient, queue: str, batch_size: int | None, visibility_timeout_ms: int | None, as_json: bool
) -> None:
    """Take messages of a queue whose consumer pulls. Each comes again unless it is acknowledged in time.

    \b
    Example:
      tenantry queues pull orders --batch-size 10
    """
    named = {"batch_size": batch_size, "visibility_timeout_ms": visibility_timeout_ms}
    body = {name: value for name, value in named.items() if value is not None}
    path = client.path("queues", queue_id(client, queue), "messages", "pull")
    _show_messages(client.post(path, body)["messages"], as_json, "lease_id")


@click.command()
@queue_argument
@click.argument("lease_ids", metavar="LEASE...", nargs=-1, required=True)
@click.option("--retry", is_flag=True, help="Not done: deliver them again.")
@click.option("--delay", type=click.IntRange(0, 43_200), help="With --retry: after so many seconds.")
@client_command
def ack(client: ApiClient, queue: str, lease_ids: tuple[str, ...], retry: bool, delay: int | None) -> None:
    """Acknowledge messages that were pulled, by their leases; they are removed.

    \b
    Examples:
      tenantry queues ack orders 5f0c…
      tenantry queues ack orders 5f0c… --retry --delay 30
    """
    if delay is not None and not retry:
        raise BadUsage("--delay goes with --retry")
    late = {} if delay is None else {"delay_seconds": delay}
    leases = [{"lease_id": each, **late} for each in lease_ids]
    path = client.path("queues", queue_id(client, queue), "messages", "ack")
    done = client.post(path, {"retries" if retry else "acks": leases})
    for warning in done["warnings"]:
        note(f"warning: {printable(warning)}")
    say(f"acknowledged {done['ackCount']}, retried {done['retryCount']}")


def _show_messages(messages: Sequence[Mapping[str, Any]], as_json: bool, key: str) -> None:
    if as_json:
        print_json(messages)
        return
    rows = [
        (each[key], each["attempts"], each["metadata"]["CF-Content-Type"], _shown_body(each))
        for each in messages
    ]
    print_table((key.replace("_", " "), "attempts", "type", "body"), rows, empty="no message")


def _shown_body(message: Mapping[str, Any]) -> str:
    body = str(message["body"])
    if message["metadata"]["CF-Content-Type"] == "json":
        body = base64.b64decode(body).decode(errors="replace")
    return body if len(body) <= _BODY_SHOWN else f"{body[:_BODY_SHOWN]}…"


def _read_stdin() -> str:
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise BadUsage(f"stdin is no UTF-8 text: {error.reason} at byte {error.start}") from None
