"""Queues, the messages sent to them from outside, and the workers that consume them."""

from __future__ import annotations

import json
import sys

import click

from cli.client import ApiClient
from cli.commands.kv import owner
from cli.errors import BadUsage, CliError
from cli.output import note, print_json, print_table, printable, say
from cli.params import (
    NAMESPACE,
    NAMESPACE_OR_DASH,
    SCRIPT,
    TENANT,
    client_command,
    confirm,
    delete_unless_used,
    force_option,
    json_option,
    label,
    plain,
    yes_option,
)
from cli.resources import queue_id

_queue = click.argument("queue", metavar="QUEUE")


@click.group(short_help="Make queues, send messages, attach consumers.")
def command() -> None:
    """Queues carry messages from workers (`deploy --queue`), or from here, to a worker's queue handler.
    Delivery is at least once: a consumer may see a message twice.

    \b
    Example:
      tenantry queues consumer add orders --namespace production --script billing
    """


@command.command("list")
@json_option
@client_command
def list_(client: ApiClient, as_json: bool) -> None:
    """Show every queue.

    \b
    Example:
      tenantry queues list
    """
    found = list(client.pages(client.path("queues")))
    if as_json:
        print_json(found)
        return
    rows = [
        (q.get("queue_name"), q.get("queue_id"), q.get("tenant"), q.get("consumers_total_count"))
        for q in found
    ]
    print_table(("name", "id", "tenant", "consumers"), rows, empty="no queue yet")


@command.command()
@_queue
@click.option("--tenant", type=TENANT, help="Who owns it (needs --namespace); the account, by default.")
@click.option("--namespace", type=NAMESPACE, metavar="NS", help="The tenant's dispatch namespace.")
@json_option
@client_command
def create(client: ApiClient, queue: str, tenant: str | None, namespace: str | None, as_json: bool) -> None:
    """Make a queue.

    \b
    Example:
      tenantry queues create orders
    """
    made = client.post(client.path("queues"), {"queue_name": queue, **owner(tenant, namespace)})
    if as_json:
        print_json(made)
    else:
        say(f"made queue {printable(queue)}: {made['queue_id']}")


@command.command()
@_queue
@force_option
@yes_option
@client_command
def delete(client: ApiClient, queue: str, force: bool, yes: bool) -> None:
    """Delete a queue with the messages in it.

    \b
    Example:
      tenantry queues delete orders
    """
    found = queue_id(client, queue)
    confirm(f"Delete the queue {printable(queue)} with its messages?", yes)
    delete_unless_used(client, client.path("queues", found), force=force)
    say(f"deleted queue {printable(queue)}")


@command.command()
@_queue
@yes_option
@client_command
def purge(client: ApiClient, queue: str, yes: bool) -> None:
    """Delete all messages of a queue.

    \b
    Example:
      tenantry queues purge orders
    """
    found = queue_id(client, queue)
    confirm(f"Delete all messages of {printable(queue)}?", yes)
    client.post(client.path("queues", found, "purge"), {"delete_messages_permanently": True})
    say(f"purged {printable(queue)}")


@command.command()
@_queue
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


def _read_stdin() -> str:
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise BadUsage(f"stdin is no UTF-8 text: {error.reason} at byte {error.start}") from None


@command.group()
def consumer() -> None:
    """The workers that a queue's messages are delivered to.

    \b
    Example:
      tenantry queues consumer list orders
    """


@consumer.command()
@_queue
@click.option(
    "--script", type=SCRIPT, required=True, metavar="NAME", help="The worker; it needs a queue handler."
)
@click.option(
    "--namespace", type=NAMESPACE_OR_DASH, default="-", metavar="NS", help="Of the worker; - for plain."
)
@click.option("--batch-size", type=click.IntRange(1, 100), help="Most messages of one delivery (10).")
@click.option(
    "--max-wait-ms", type=click.IntRange(0, 60_000), help="Longest wait for a full batch, in ms (5000)."
)
@click.option(
    "--max-retries", type=click.IntRange(0, 100), help="Deliveries after the first that failed (3)."
)
@click.option("--retry-delay", type=click.IntRange(0, 43_200), help="Seconds before a retry (0).")
@click.option("--dead-letter-queue", metavar="QUEUE", help="Where messages go that ran out of retries.")
@json_option
@client_command
def add(
    client: ApiClient,
    queue: str,
    script: str,
    namespace: str,
    batch_size: int | None,
    max_wait_ms: int | None,
    max_retries: int | None,
    retry_delay: int | None,
    dead_letter_queue: str | None,
    as_json: bool,
) -> None:
    """Deliver a queue's messages to a worker.

    \b
    Examples:
      tenantry queues consumer add orders --namespace production --script billing
      tenantry queues consumer add orders --script billing --batch-size 50 --dead-letter-queue failed
    """
    settings = {
        "batch_size": batch_size,
        "max_wait_time_ms": max_wait_ms,
        "max_retries": max_retries,
        "retry_delay": retry_delay,
    }
    body: dict[str, object] = {
        "type": "worker",
        "script_name": script,
        "settings": {name: value for name, value in settings.items() if value is not None},
    }
    if namespace != "-":
        body["dispatch_namespace"] = namespace
    if dead_letter_queue is not None:
        body["dead_letter_queue"] = dead_letter_queue
    made = client.post(client.path("queues", queue_id(client, queue), "consumers"), body)
    if as_json:
        print_json(made)
    else:
        say(f"{printable(queue)} → {label(plain(namespace), script)} (consumer {made['consumer_id']})")


@consumer.command("list")
@_queue
@json_option
@client_command
def list_consumers(client: ApiClient, queue: str, as_json: bool) -> None:
    """Show the consumers of a queue.

    \b
    Example:
      tenantry queues consumer list orders
    """
    found = list(client.get(client.path("queues", queue_id(client, queue), "consumers")) or [])
    if as_json:
        print_json(found)
        return
    rows = [
        (
            item.get("consumer_id"),
            label(item.get("dispatch_namespace"), str(item.get("script_name") or item.get("script"))),
            *[
                (item.get("settings") or {}).get(name)
                for name in ("batch_size", "max_wait_time_ms", "max_retries")
            ],
            item.get("dead_letter_queue"),
        )
        for item in found
    ]
    header = ("id", "worker", "batch", "wait ms", "retries", "dead letters")
    print_table(header, rows, empty=f"{printable(queue)} has no consumer")


@consumer.command()
@_queue
@click.argument("consumer_id", metavar="ID", required=False)
@client_command
def remove(client: ApiClient, queue: str, consumer_id: str | None) -> None:
    """Stop delivering to a consumer. Without ID: to the only one that the queue has.

    \b
    Example:
      tenantry queues consumer remove orders
    """
    path = ("queues", queue_id(client, queue), "consumers")
    if consumer_id is None:
        found = [str(item["consumer_id"]) for item in client.get(client.path(*path)) or []]
        if len(found) != 1:
            raise CliError(
                f"{printable(queue)} has {len(found)} consumers, so say which",
                hint=f"tenantry queues consumer list {printable(queue)}",
            )
        consumer_id = found[0]
    client.delete(client.path(*path, consumer_id))
    say(f"removed consumer {printable(consumer_id)} of {printable(queue)}")
