"""Uploads a worker with all it needs: namespace, KV namespaces, queues made; secrets set; hostnames routed.

The order keeps the state before whole for as long as something may be refused: everything that can be
known here is checked first, then what the worker stands on is made (empty, so nothing depends on it), then
the upload switches the version at once, and routes come last, since they need a worker to lead to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from cli.client import ApiClient
from cli.commands.logs import level_name
from cli.commands.routes import describe_target, find_routes, hostname_pattern, target_of
from cli.deploying import Sent, read_worker, send
from cli.deployment import Deployment, check_names
from cli.errors import ApiError, CliError
from cli.output import indented, note, print_json, printable, say, size
from cli.params import BINDING, NAMESPACE, SCRIPT, TAG, TENANT, client_command, json_option, label
from cli.worker_options import worker_fields, worker_options


@click.command(short_help="Upload a worker, with its bindings and hostnames.")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--name", type=SCRIPT, required=True, help="The worker's name.")
@click.option(
    "--namespace",
    type=NAMESPACE,
    metavar="NS",
    help="The dispatch namespace it goes into, made when missing. Without: a plain script.",
)
@click.option("--tenant", type=TENANT, metavar="ID", help="Whose worker it is; by default, its name's.")
@click.option("--tag", "tags", type=TAG, multiple=True, help="A tag of it; repeatable, at most 8.")
@click.option(
    "--hostname", "hostnames", multiple=True, metavar="HOST", help="Lead this hostname to it; repeatable."
)
@worker_options
@click.option(
    "--share",
    "shared",
    type=BINDING,
    multiple=True,
    help="Let the --kv, --d1, --queue or --service of this name lead to another tenant's; repeatable.",
)
@json_option
@client_command
def command(
    client: ApiClient,
    /,
    file: Path,
    name: str,
    namespace: str | None,
    tenant: str | None,
    tags: tuple[str, ...],
    hostnames: tuple[str, ...],
    shared: tuple[str, ...],
    as_json: bool,
    **given: Any,
) -> None:
    """Upload FILE as a worker, and switch to it at once: a WebAssembly module, or JavaScript.

    JavaScript goes up with the files that it imports by relative names; TypeScript and packages of npm are bundled by
    esbuild, where that is installed. FILE may be a folder with an index.js or src/index.ts, and - for a .wasm
    module on stdin, when there is no --secret. What it is bound to is replaced by what is given here; secrets that
    it has stay.

    \b
    Examples:
      tenantry deploy worker.js --name hello --namespace production --hostname hello.localhost
      tenantry deploy hello.wasm --name hello --namespace production --hostname hello.localhost
      tenantry deploy shop.wasm --name shop --namespace production --tenant acme --kv CARTS=acme-carts
      tenantry deploy router.wasm --name router --dispatch TENANTS=production --hostname '*.shop.example'
      printf %s "$KEY" | tenantry deploy bill.wasm --name bill --secret API_KEY --limit cpu_ms=200
    """
    worker = read_worker(file, stdin_taken=bool(given["secret_names"]))
    patterns = list(dict.fromkeys(hostname_pattern(host) for host in hostnames))
    deployment = Deployment(
        name=name, namespace=namespace, tenant=tenant, tags=tags, shared=shared, **worker_fields(given)
    )
    check_names(deployment)
    new_patterns = _unrouted(client, patterns, deployment)
    try:
        sent = send(client, deployment, worker)
    except ApiError as error:
        for problem in error.problems:
            _note_logs(problem.meta)
        raise
    routes = [_add_route(client, pattern, deployment) for pattern in new_patterns]
    if as_json:
        print_json({"script": sent.script, "routes": routes, "made": sent.made})
        return
    _report(deployment, worker.size, sent, patterns)


def _unrouted(client: ApiClient, patterns: Sequence[str], deployment: Deployment) -> list[str]:
    """Those of `patterns` that do not lead to this worker yet. Raises CliError for another's."""
    target = target_of(deployment.namespace, deployment.name)
    new: list[str] = []
    for pattern in patterns:
        whole = [
            route
            for route in find_routes(client, pattern)
            if route.get("path_prefix") in (None, "", "/") and not route.get("headers")
        ]
        if not whole:
            new.append(pattern)
            continue
        found = {key: value for key, value in (whole[0].get("target") or {}).items() if value is not None}
        if found != target:
            raise CliError(
                f"--hostname {pattern}: it leads to {describe_target(whole[0])} already; nothing deployed",
                hint=f"tenantry routes delete {whole[0].get('id')}",
            )
    return new


def _add_route(client: ApiClient, pattern: str, deployment: Deployment) -> Any:
    target = target_of(deployment.namespace, deployment.name)
    try:
        return client.post(
            client.path("workers", "dispatch", "routes"), {"hostname": pattern, "target": target}
        )
    except ApiError as error:
        error.hint = error.hint or "the worker itself is deployed; `tenantry routes add` adds the route"
        raise


def _report(deployment: Deployment, length: int, sent: Sent, patterns: Sequence[str]) -> None:
    for thing in sent.made:
        note(f"made {printable(thing)}")
    described = sent.script
    handlers = ", ".join(described.get("handlers") or [])
    started = described.get("startup_time_ms")
    say(
        f"deployed {label(deployment.namespace, deployment.name)}: {size(length)}"
        + (f", handlers {printable(handlers)}" if handlers else "")
        + (f", started in {started} ms" if isinstance(started, int) else "")
        + (f", version {printable(described['deployment_id'])}" if described.get("deployment_id") else "")
    )
    for pattern in patterns:
        say(f"  {pattern} → {label(deployment.namespace, deployment.name)}")
    _note_logs(described)


def _note_logs(described: Mapping[str, Any]) -> None:
    """What the top level said when it ran, which is at no other time."""
    for line in described.get("startup_logs") or []:
        note(f"{level_name(line.get('level'))}: {indented(line.get('text'))}")
