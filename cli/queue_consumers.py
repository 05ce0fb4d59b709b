"""`tenantry queues consumer`: who gets a queue's messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from cli.client import ApiClient
from cli.errors import BadUsage, CliError
from cli.output import print_json, print_table, printable, say
from cli.params import NAMESPACE_OR_DASH, SCRIPT, client_command, json_option, label, plain
from cli.queue_messages import queue_argument
from cli.resources import queue_id

#: Options that the API calls by another name.
_FIELDS = {"max_wait_ms": "max_wait_time_ms"}


def label_of(shown: Mapping[str, Any]) -> str:
    """A consumer as the API shows it, in a word."""
    if shown.get("type") == "http_pull":
        return "(pulls)"
    return label(shown.get("dispatch_namespace"), str(shown.get("script_name") or shown.get("script")))


@click.group()
def consumer() -> None:
    """Who gets a queue's messages: one worker, or whoever pulls them over HTTP.

    \b
    Example:
      tenantry queues consumer list orders
    """


@consumer.command()
@queue_argument
@click.option("--script", type=SCRIPT, metavar="NAME", help="The worker; it needs a queue handler.")
@click.option("--pull", is_flag=True, help="No worker: messages are pulled over HTTP (`queues pull`).")
@click.option(
    "--namespace", type=NAMESPACE_OR_DASH, default="-", metavar="NS", help="Of the worker; - for plain."
)
@click.option(
    "--batch-size", type=click.IntRange(1, 100), help="Most messages of one delivery (10; pulled: 5)."
)
@click.option(
    "--max-wait-ms", type=click.IntRange(0, 60_000), help="Longest wait for a full batch, in ms (5000)."
)
@click.option(
    "--max-retries", type=click.IntRange(0, 100), help="Deliveries after the first that failed (3)."
)
@click.option("--retry-delay", type=click.IntRange(0, 43_200), help="Seconds before a retry (0).")
@click.option(
    "--max-concurrency",
    type=click.IntRange(1, 250),
    help="Batches at once over all processes (one in each process).",
)
@click.option(
    "--visibility-timeout-ms",
    type=click.IntRange(1, 43_200_000),
    help="How long what is pulled is nobody else's, in ms (30000).",
)
@click.option("--dead-letter-queue", metavar="QUEUE", help="Where messages go that ran out of retries.")
@json_option
@client_command
def add(
    client: ApiClient,
    /,
    queue: str,
    script: str | None,
    pull: bool,
    namespace: str,
    dead_letter_queue: str | None,
    as_json: bool,
    **settings: int | None,
) -> None:
    """Deliver a queue's messages to a worker, or have them pulled.

    \b
    Examples:
      tenantry queues consumer add orders --namespace production --script billing
      tenantry queues consumer add orders --script billing --batch-size 50 --dead-letter-queue failed
      tenantry queues consumer add orders --pull --visibility-timeout-ms 60000
    """
    if pull == (script is not None):
        raise BadUsage("--script NAME or --pull: one of the two is right")
    named = {_FIELDS.get(name, name): value for name, value in settings.items() if value is not None}
    body: dict[str, object] = {"type": "http_pull" if pull else "worker", "settings": named}
    if script is not None:
        body["script_name"] = script
    if namespace != "-":
        body["dispatch_namespace"] = namespace
    if dead_letter_queue is not None:
        body["dead_letter_queue"] = dead_letter_queue
    made = client.post(client.path("queues", queue_id(client, queue), "consumers"), body)
    if as_json:
        print_json(made)
    else:
        who = "whoever pulls" if script is None else label(plain(namespace), script)
        say(f"{printable(queue)} → {who} (consumer {made['consumer_id']})")


@consumer.command("list")
@queue_argument
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
            label_of(item),
            *[
                (item.get("settings") or {}).get(name)
                for name in ("batch_size", "max_wait_time_ms", "max_retries", "max_concurrency")
            ],
            item.get("dead_letter_queue"),
        )
        for item in found
    ]
    header = ("id", "consumer", "batch", "wait ms", "retries", "at once", "dead letters")
    print_table(header, rows, empty=f"{printable(queue)} has no consumer")


@consumer.command()
@queue_argument
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
