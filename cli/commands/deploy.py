"""Uploads a worker with all it needs: namespace, KV namespaces, queues made; secrets set; hostnames routed.

The order keeps the state before whole for as long as something may be refused: everything that can be
known here is checked first, then what the worker stands on is made (empty, so nothing depends on it), then
the upload switches the version at once, and routes come last, since they need a worker to lead to.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from cli.client import ApiClient, Part, encode_multipart
from cli.commands.logs import level_name
from cli.commands.routes import describe_target, find_routes, hostname_pattern, target_of
from cli.commands.secrets import read_secret, read_stdin_text
from cli.deployment import (
    MAIN_MODULE,
    Deployment,
    check_names,
    parse_secret_lines,
    service_target,
    upload_metadata,
)
from cli.errors import ApiError, BadUsage, CliError
from cli.javascript_sources import WORKER_FILES, SourceFile, Sources, is_javascript, read_sources
from cli.output import Progress, indented, note, print_json, printable, say, size
from cli.params import (
    BINDING,
    NAMESPACE,
    SCRIPT,
    TAG,
    TENANT,
    client_command,
    json_option,
    label,
    pair,
    read_file,
)
from cli.resources import find_d1_database, find_kv_namespace, find_queue


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
@click.option("--var", "variables", type=pair("VALUE"), multiple=True, help="A variable; repeatable.")
@click.option(
    "--secret",
    "secret_names",
    type=BINDING,
    multiple=True,
    help="A secret; repeatable. Values come on stdin: one NAME=VALUE a line, or just the value of a "
    "single one. A terminal asks for them.",
)
@click.option(
    "--kv", type=pair("TITLE"), multiple=True, help="A KV namespace, made when missing; repeatable."
)
@click.option(
    "--d1", type=pair("DATABASE"), multiple=True, help="A SQL database, made when missing; repeatable."
)
@click.option(
    "--queue", "queues", type=pair("QUEUE"), multiple=True, help="A queue, made when missing; repeatable."
)
@click.option(
    "--service",
    "services",
    type=pair("SCRIPT[#EXPORT]"),
    multiple=True,
    help="Another worker, or an entry point that one in JavaScript exports; repeatable.",
)
@click.option(
    "--tail",
    "tails",
    multiple=True,
    metavar="SCRIPT",
    help="A worker with a `tail` handler, to be told what becomes of this one's events; repeatable.",
)
@click.option(
    "--dispatch",
    type=pair("NS"),
    multiple=True,
    help="A dispatch namespace whose workers it may call, made when missing; repeatable.",
)
@click.option(
    "--cache",
    "caches",
    type=pair("CACHE"),
    multiple=True,
    help="A cache of the tenant's, by name; repeatable.",
)
@click.option(
    "--analytics",
    "datasets",
    type=pair("DATASET"),
    multiple=True,
    help="A dataset for data points, by name; repeatable.",
)
@click.option(
    "--rate-limit",
    "rate_limits",
    type=pair("LIMIT/SECONDS"),
    multiple=True,
    help="How often a key may be used, in 10 or 60 seconds; repeatable.",
)
@click.option(
    "--share",
    "shared",
    type=BINDING,
    multiple=True,
    help="Let the --kv, --d1, --queue or --service of this name lead to another tenant's; repeatable.",
)
@click.option(
    "--compatibility-flag",
    "flags",
    multiple=True,
    metavar="NAME",
    help="For JavaScript: nodejs_compat, for globals and modules of Node.js; repeatable.",
)
@click.option(
    "--warm-up",
    metavar="PATH",
    help="For JavaScript: answer a GET of this path once, and begin each request with what that left.",
)
@click.option("--limit", "limits", type=pair("NUMBER"), multiple=True, help="Such as cpu_ms=200; repeatable.")
@json_option
@client_command
def command(
    client: ApiClient,
    file: Path,
    name: str,
    namespace: str | None,
    tenant: str | None,
    tags: tuple[str, ...],
    hostnames: tuple[str, ...],
    variables: tuple[tuple[str, str], ...],
    secret_names: tuple[str, ...],
    kv: tuple[tuple[str, str], ...],
    d1: tuple[tuple[str, str], ...],
    queues: tuple[tuple[str, str], ...],
    services: tuple[tuple[str, str], ...],
    tails: tuple[str, ...],
    dispatch: tuple[tuple[str, str], ...],
    rate_limits: tuple[tuple[str, str], ...],
    caches: tuple[tuple[str, str], ...],
    datasets: tuple[tuple[str, str], ...],
    shared: tuple[str, ...],
    flags: tuple[str, ...],
    warm_up: str | None,
    limits: tuple[tuple[str, str], ...],
    as_json: bool,
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
    worker = read_worker(file, stdin_taken=bool(secret_names))
    patterns = list(dict.fromkeys(hostname_pattern(host) for host in hostnames))
    deployment = Deployment(
        name=name,
        namespace=namespace,
        tenant=tenant,
        tags=tags,
        variables=variables,
        secrets=_read_secrets(secret_names),
        kv=kv,
        d1=d1,
        queues=queues,
        services=services,
        tails=tails,
        dispatch=dispatch,
        rate_limits=rate_limits,
        caches=caches,
        datasets=datasets,
        limits=limits,
        shared=shared,
        flags=flags,
        warm_up=warm_up,
    )
    check_names(deployment)
    new_patterns = _unrouted(client, patterns, deployment)
    _check_services(client, deployment)
    made: list[str] = []
    try:
        kv_ids, d1_ids = _make_resources(client, deployment, made)
        result = _upload(client, deployment, worker, kv_ids, d1_ids)
    except CliError as error:
        if made:
            error.hint = (
                f"{error.hint + '; ' if error.hint else ''}made before that, and empty: {', '.join(made)}"
            )
        raise
    routes = [_add_route(client, pattern, deployment) for pattern in new_patterns]
    if as_json:
        print_json({"script": result, "routes": routes, "made": made})
        return
    _report(deployment, worker.size, result, patterns, made)


_ON_STDIN = "stdin takes a .wasm module; JavaScript is deployed by its file or its folder"


def read_worker(file: Path, *, stdin_taken: bool) -> Sources:
    """What goes up, by what `file` is called. Raises CliError."""
    if is_javascript(file):
        return read_sources(file)
    module = read_module(file, stdin_taken=stdin_taken)
    return Sources(MAIN_MODULE, (SourceFile(MAIN_MODULE, "application/wasm", module),))


def read_module(file: Path, *, stdin_taken: bool) -> bytes:
    """The bytes of `file`, checked as the host will check them, so a refusal costs no upload.

    Raises BadUsage with the host's own words.
    """
    from runtime.artifact import MAX_MODULE_BYTES, InvalidModule, read_artifact

    if str(file) == "-" and stdin_taken:
        raise BadUsage("FILE - and --secret both want stdin; give the module's file name")
    data = read_file(file, at_most=MAX_MODULE_BYTES, what="module")
    try:
        read_artifact(data)
    except InvalidModule as error:
        hint = "" if file.suffix == ".wasm" else _ON_STDIN if str(file) == "-" else WORKER_FILES
        raise BadUsage(f"{printable(str(file))}: {error}", hint=hint) from None
    return data


def _read_secrets(names: Sequence[str]) -> dict[str, str]:
    if not names:
        return {}
    if sys.stdin.isatty():
        return {name: read_secret(name) for name in names}
    return parse_secret_lines(names, read_stdin_text())


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


def _check_services(client: ApiClient, deployment: Deployment) -> None:
    """What the host would refuse at the upload, when resources had been made already."""
    for binding, given in deployment.services:
        target = service_target(given)[0]
        places = dict.fromkeys((deployment.namespace, None))
        if target != deployment.name and not any(_is_there(client, place, target) for place in places):
            shown = " or ".join(label(place, target) for place in places)
            raise CliError(
                f"--service {binding}={given}: there is no script {shown}; nothing deployed",
                hint="deploy that one first",
            )


def _is_there(client: ApiClient, namespace: str | None, script: str) -> bool:
    try:
        client.get(client.script(namespace, script))
    except ApiError as error:
        if not error.absent:
            raise
        return False
    return True


def _make_resources(
    client: ApiClient, deployment: Deployment, made: list[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Make what is missing, naming it in `made`; the id of each KV title, and of each database by name."""
    own = [] if deployment.namespace is None else [deployment.namespace]
    for namespace in dict.fromkeys([*own, *(target for _, target in deployment.dispatch)]):
        _make_namespace(client, namespace, made)
    kv_ids: dict[str, str] = {}
    for binding, title in deployment.kv:
        path, body = client.path("storage", "kv", "namespaces"), {"title": title, **deployment.owner}
        find = functools.partial(find_kv_namespace, client, title)
        found = _find_or_create(client, find, path, body, f"KV namespace {title}", made)
        _check_owner(found, deployment, binding, f"the KV namespace {title!r}")
        kv_ids[title] = str(found["id"])
    d1_ids: dict[str, str] = {}
    for binding, name in deployment.d1:
        path, body = client.path("d1", "database"), {"name": name, **deployment.owner}
        find = functools.partial(find_d1_database, client, name)
        found = _find_or_create(client, find, path, body, f"database {name}", made)
        _check_owner(found, deployment, binding, f"the database {name!r}")
        d1_ids[name] = str(found["uuid"])
    for binding, name in deployment.queues:
        path, body = client.path("queues"), {"queue_name": name, **deployment.owner}
        find = functools.partial(find_queue, client, name)
        found = _find_or_create(client, find, path, body, f"queue {name}", made)
        _check_owner(found, deployment, binding, f"the queue {name!r}")
    return kv_ids, d1_ids


def _make_namespace(client: ApiClient, namespace: str, made: list[str]) -> None:
    try:
        client.get(client.path("workers", "dispatch", "namespaces", namespace))
    except ApiError as error:
        if not error.absent:
            raise
        if _create(client, client.path("workers", "dispatch", "namespaces"), {"name": namespace}):
            made.append(f"dispatch namespace {namespace}")


def _find_or_create(
    client: ApiClient,
    find: Callable[[], Mapping[str, Any] | None],
    path: str,
    body: Mapping[str, object],
    what: str,
    made: list[str],
) -> Mapping[str, Any]:
    found = find()
    if found is None:
        found = _create(client, path, body)
        if found is not None:
            made.append(what)
            return found
        found = find()
    if found is None:
        raise CliError(f"the {what} came and went while this ran; nothing deployed", hint="try again")
    return found


def _create(client: ApiClient, path: str, body: Mapping[str, object]) -> Mapping[str, Any] | None:
    """The thing made, or None when another deploy made it in the meantime."""
    try:
        made: Mapping[str, Any] = client.post(path, body)
    except ApiError as error:
        if not error.exists:
            raise
        return None
    return made


def _check_owner(found: Mapping[str, Any], deployment: Deployment, binding: str, what: str) -> None:
    """What the host would refuse after the upload: another tenant's resource, not said to be shared."""
    tenant, namespace = found.get("tenant"), found.get("namespace")
    if tenant is None or deployment.known_tenant is None or binding in deployment.shared:
        return
    if (namespace, tenant) != (deployment.namespace, deployment.known_tenant):
        raise CliError(
            f"{what} is tenant {tenant!r}'s, of dispatch namespace {namespace!r}; nothing deployed",
            hint=f"name another one, or the tenant with --tenant; to share it all the same: --share {binding}",
        )


def _upload(
    client: ApiClient,
    deployment: Deployment,
    worker: Sources,
    kv_ids: Mapping[str, str],
    d1_ids: Mapping[str, str],
) -> Any:
    metadata = json.dumps(upload_metadata(deployment, kv_ids, d1_ids, worker.main)).encode()
    parts = [
        Part("metadata", metadata, "application/json"),
        *(Part(file.name, file.data, file.content_type, file.name) for file in worker.files),
    ]
    content_type, body = encode_multipart(parts)
    progress = Progress(f"uploading {deployment.name}", len(body))
    try:
        return client.upload(
            client.script(deployment.namespace, deployment.name), body, content_type, progress.advance
        )
    except ApiError as error:
        progress.close()
        for problem in error.problems:
            _note_logs(problem.meta)
        raise
    finally:
        progress.close()


def _add_route(client: ApiClient, pattern: str, deployment: Deployment) -> Any:
    target = target_of(deployment.namespace, deployment.name)
    try:
        return client.post(
            client.path("workers", "dispatch", "routes"), {"hostname": pattern, "target": target}
        )
    except ApiError as error:
        error.hint = error.hint or "the worker itself is deployed; `tenantry routes add` adds the route"
        raise


def _report(
    deployment: Deployment, length: int, result: Any, patterns: Sequence[str], made: Sequence[str]
) -> None:
    for thing in made:
        note(f"made {printable(thing)}")
    described = result if isinstance(result, dict) else {}
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
