"""Sends a worker to a host, with what it stands on: looked for, made where it is missing, then the upload."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cli.client import ApiClient, Part, encode_multipart
from cli.deployment import MAIN_MODULE, Deployment, service_target, upload_metadata
from cli.errors import ApiError, BadUsage, CliError
from cli.javascript_sources import WORKER_FILES, SourceFile, Sources, is_javascript, read_sources
from cli.output import Progress, printable
from cli.params import label, read_file
from cli.resources import find_d1_database, find_kv_namespace, find_queue

_ON_STDIN: Final = "stdin takes a .wasm module; JavaScript is deployed by its file or its folder"


def read_worker(file: Path, *, stdin_taken: bool) -> Sources:
    """What goes up, by what `file` is called. Raises CliError."""
    if is_javascript(file):
        return read_sources(file)
    module = read_module(file, stdin_taken=stdin_taken)
    return Sources(MAIN_MODULE, (SourceFile(MAIN_MODULE, "application/wasm", module),), (file.resolve(),))


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


@dataclass(frozen=True, slots=True)
class Sent:
    #: As the API described it.
    script: Mapping[str, Any]
    #: What had to be made, in words.
    made: Sequence[str]


def send(client: ApiClient, deployment: Deployment, worker: Sources, *, quiet: bool = False) -> Sent:
    """Upload it, when all that it stands on is there; unless `quiet`, a terminal sees how far it is. Raises CliError,
    whose hint names what was made all the same.
    """
    _check_services(client, deployment)
    made: list[str] = []
    try:
        kv_ids, d1_ids = _make_resources(client, deployment, made)
        script = _upload(client, deployment, worker, kv_ids, d1_ids, quiet=quiet)
    except CliError as error:
        if made:
            error.hint = (
                f"{error.hint + '; ' if error.hint else ''}made before that, and empty: {', '.join(made)}"
            )
        raise
    return Sent(script if isinstance(script, dict) else {}, tuple(made))


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
        make_namespace(client, namespace, made)
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


def make_namespace(client: ApiClient, namespace: str, made: list[str]) -> None:
    """Unless it is there; what is made is named in `made`."""
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
    *,
    quiet: bool,
) -> Any:
    metadata = json.dumps(upload_metadata(deployment, kv_ids, d1_ids, worker.main)).encode()
    parts = [
        Part("metadata", metadata, "application/json"),
        *(Part(file.name, file.data, file.content_type, file.name) for file in worker.files),
    ]
    content_type, body = encode_multipart(parts)
    progress = Progress(f"uploading {deployment.name}", len(body), quiet=quiet)
    try:
        return client.upload(
            client.script(deployment.namespace, deployment.name), body, content_type, progress.advance
        )
    finally:
        progress.close()
