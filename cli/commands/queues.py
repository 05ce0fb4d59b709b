"""Queues, the messages sent to them from outside, and the workers that consume them."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from cli.client import ApiClient
from cli.commands.kv import owner
from cli.errors import BadUsage
from cli.output import print_json, print_table, printable, say, size
from cli.params import (
    NAMESPACE,
    TENANT,
    client_command,
    confirm,
    delete_unless_used,
    force_option,
    json_option,
    yes_option,
)
from cli.queue_consumers import consumer, label_of
from cli.queue_messages import ack, peek, pull, queue_argument, send
from cli.resources import queue_id

_delay = click.option(
    "--delivery-delay", type=click.IntRange(0, 43_200), help="Seconds of messages that name no delay (0)."
)
_retention = click.option(
    "--retention",
    type=click.IntRange(60, 1_209_600),
    help="Seconds that a message sent from now on is kept (345600).",
)


@click.group(short_help="Make queues, send messages, attach consumers.")
def command() -> None:
    """Queues carry messages from workers (`deploy --queue`), or from here, to a worker's queue handler, or to
    whoever pulls them. Delivery is at least once: a consumer may see a message twice.

    \b
    Example:
      tenantry queues consumer add orders --namespace production --script billing
    """


for _each in (consumer, send, peek, pull, ack):
    command.add_command(_each)


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
        (
            *(q.get(name) for name in ("queue_name", "queue_id", "tenant", "consumers_total_count")),
            "paused" if (q.get("settings") or {}).get("delivery_paused") else "",
        )
        for q in found
    ]
    print_table(("name", "id", "tenant", "consumers", "delivery"), rows, empty="no queue yet")


@command.command()
@queue_argument
@click.option("--tenant", type=TENANT, help="Who owns it (needs --namespace); the account, by default.")
@click.option("--namespace", type=NAMESPACE, metavar="NS", help="The tenant's dispatch namespace.")
@_delay
@_retention
@json_option
@client_command
def create(
    client: ApiClient,
    queue: str,
    tenant: str | None,
    namespace: str | None,
    delivery_delay: int | None,
    retention: int | None,
    as_json: bool,
) -> None:
    """Make a queue.

    \b
    Example:
      tenantry queues create orders
    """
    body: dict[str, object] = {"queue_name": queue, **owner(tenant, namespace)}
    if settings := _settings(delivery_delay, retention):
        body["settings"] = settings
    made = client.post(client.path("queues"), body)
    if as_json:
        print_json(made)
    else:
        say(f"made queue {printable(queue)}: {made['queue_id']}")


@command.command()
@queue_argument
@json_option
@client_command
def info(client: ApiClient, queue: str, as_json: bool) -> None:
    """Show a queue: its settings, what waits in it, who gets it.

    \b
    Example:
      tenantry queues info orders
    """
    found = queue_id(client, queue)
    shown = client.get(client.path("queues", found))
    held = client.get(client.path("queues", found, "metrics"))
    if as_json:
        print_json({**shown, "metrics": held})
        return
    settings = shown["settings"]
    oldest = held["oldest_message_timestamp_ms"]
    say(f"id         {shown['queue_id']}")
    say(f"delivery   {'paused' if settings['delivery_paused'] else 'goes on'}")
    say(f"delay      {settings['delivery_delay']} s")
    say(f"retention  {settings['message_retention_period']} s")
    say(f"backlog    {held['backlog_count']} messages, {size(held['backlog_bytes'])}")
    if oldest:
        say(f"oldest     {datetime.fromtimestamp(oldest / 1000, UTC).isoformat(timespec='seconds')}")
    for each in shown["consumers"]:
        say(f"consumer   {printable(label_of(each))}")


@command.command()
@queue_argument
@_delay
@_retention
@client_command
def update(client: ApiClient, queue: str, delivery_delay: int | None, retention: int | None) -> None:
    """Change a queue's settings. What is not named stays.

    \b
    Example:
      tenantry queues update orders --delivery-delay 60
    """
    settings = _settings(delivery_delay, retention)
    if not settings:
        raise BadUsage("--delivery-delay or --retention: one at least is right")
    client.patch(client.path("queues", queue_id(client, queue)), {"settings": settings})
    say(f"updated {printable(queue)}")


@command.command()
@queue_argument
@client_command
def pause(client: ApiClient, queue: str) -> None:
    """Deliver nothing of a queue until it is resumed. Sends go on, and nothing is lost.

    \b
    Example:
      tenantry queues pause orders
    """
    _pause(client, queue, paused=True)
    say(f"paused {printable(queue)}: what is sent waits")


@command.command()
@queue_argument
@client_command
def resume(client: ApiClient, queue: str) -> None:
    """Deliver a paused queue again.

    \b
    Example:
      tenantry queues resume orders
    """
    _pause(client, queue, paused=False)
    say(f"resumed {printable(queue)}")


@command.command()
@queue_argument
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
@queue_argument
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


def _settings(delivery_delay: int | None, retention: int | None) -> dict[str, int]:
    named = {"delivery_delay": delivery_delay, "message_retention_period": retention}
    return {name: value for name, value in named.items() if value is not None}


def _pause(client: ApiClient, queue: str, *, paused: bool) -> None:
    client.patch(client.path("queues", queue_id(client, queue)), {"settings": {"delivery_paused": paused}})
