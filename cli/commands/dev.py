"""Runs one worker on the developer's machine, and deploys it again at each change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cli.deployment import Deployment, check_names
from cli.dev.plan import NAMESPACE, Plan, name_of
from cli.errors import BadUsage
from cli.javascript_sources import project_of
from cli.output import printable
from cli.params import SCRIPT
from cli.worker_options import worker_fields, worker_options
from model.cron_syntax import InvalidCron, parse_cron
from processes.listeners import BadListenAddress, ListenAddress, parse_listen_address


@click.command(short_help="Run a worker here, and deploy it again at each change.")
@click.argument("file", type=click.Path(path_type=Path), metavar="[FILE]", default=".")
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=8787, show_default=True, help="0 takes a free one."
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; 0.0.0.0 lets others in, too.",
)
@click.option("--name", type=SCRIPT, help="The worker's name; by default, its file's or folder's.")
@worker_options
@click.option(
    "--consume", "consumes", metavar="QUEUE", multiple=True, help="Give it this queue's messages; repeatable."
)
@click.option("--cron", "crons", multiple=True, help="Run its scheduled handler at these times; repeatable.")
@click.option(
    "--allow-loopback",
    is_flag=True,
    help="Let it fetch from services on this machine, as http://127.0.0.1:3000.",
)
@click.option("--fresh", is_flag=True, help="Throw away what KV, D1 and queues hold from earlier runs.")
def command(
    file: Path,
    port: int,
    host: str,
    name: str | None,
    consumes: tuple[str, ...],
    crons: tuple[str, ...],
    allow_loopback: bool,
    fresh: bool,
    **given: Any,
) -> int:
    """Run FILE, a worker or the folder of one, on a host of its own on this machine, until Ctrl-C.

    Each request, each line that it logs and each exception is shown, with traces in the places of its sources; a file
    that changes is deployed at once, and one that does not work leaves the version before in place. What its
    bindings hold is kept in .tenantry/dev beside the project. It may fetch from every public address.

    \b
    Examples:
      tenantry dev
      tenantry dev src/index.ts --kv NOTES=notes --var GREETING=hello
      tenantry dev shop --port 0 --d1 DB=shop --queue ORDERS=orders --consume orders
      tenantry dev worker.js --cron '*/5 * * * *' --allow-loopback
    """
    for cron in crons:
        try:
            parse_cron(cron)
        except InvalidCron as error:
            raise BadUsage(f"--cron {printable(str(error))}") from None
    if str(file) == "-":
        raise BadUsage("FILE is read again and again, which stdin can't be: name a file or a folder")
    listen = _listen(host, port)
    file = file.resolve()  # as all that is found from it on
    root = project_of(file)
    fields = worker_fields(given)
    deployment = Deployment(name=name or name_of(file, root), namespace=NAMESPACE, **fields)
    check_names(deployment)
    from cli.dev.loop import run
    from cli.dev.screen import Screen

    plan = Plan(file, root, deployment, listen, allow_loopback, consumes, crons)
    return run(plan, Screen(), fresh=fresh)


def _listen(host: str, port: int) -> ListenAddress:
    try:
        return parse_listen_address(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    except BadListenAddress as error:
        raise BadUsage(f"--host: {error}") from None
