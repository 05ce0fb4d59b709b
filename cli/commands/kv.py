"""KV namespaces and what is in them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from cli.client import ApiClient, Part, encode_multipart
from cli.errors import BadUsage, CliError
from cli.output import note, print_json, print_table, printable, say
from cli.params import (
    NAMESPACE,
    TENANT,
    client_command,
    confirm,
    delete_unless_used,
    force_option,
    json_option,
    read_file,
    yes_option,
)
from cli.resources import kv_namespace_id

#: The host's own limit of a value, which it checks too.
VALUE_BYTES = 25 << 20

_title = click.argument("title", metavar="TITLE")
_key = click.argument("key", metavar="KEY")


@click.group(short_help="Read and write KV namespaces.")
def command() -> None:
    """KV namespaces hold keys and values; workers see one through a binding (`deploy --kv`).
    TITLE is the name a KV namespace was made with; its id does too.

    \b
    Example:
      tenantry kv put settings greeting "Hello"
    """


class _ListByDefault(click.Group):
    """`kv namespaces`, with or without options, is `kv namespaces list`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        named = args and (args[0] in self.commands or args[0] in ctx.help_option_names)
        return super().parse_args(ctx, args if named else ["list", *args])


@command.group(cls=_ListByDefault)
def namespaces() -> None:
    """List KV namespaces, make or delete one.

    \b
    Example:
      tenantry kv namespaces
    """


@namespaces.command("list")
@json_option
@client_command
def _list_namespaces(client: ApiClient, as_json: bool) -> None:
    """Show every KV namespace.

    \b
    Example:
      tenantry kv namespaces list --json
    """
    found = list(client.pages(client.path("storage", "kv", "namespaces")))
    if as_json:
        print_json(found)
        return
    rows = [(item.get("title"), item.get("id"), item.get("tenant")) for item in found]
    print_table(("title", "id", "tenant"), rows, empty="no KV namespace yet")


@namespaces.command()
@_title
@click.option("--tenant", type=TENANT, help="Who owns it (needs --namespace); the account, by default.")
@click.option("--namespace", type=NAMESPACE, metavar="NS", help="The tenant's dispatch namespace.")
@json_option
@client_command
def create(client: ApiClient, title: str, tenant: str | None, namespace: str | None, as_json: bool) -> None:
    """Make a KV namespace.

    \b
    Example:
      tenantry kv namespaces create settings
    """
    made = client.post(
        client.path("storage", "kv", "namespaces"), {"title": title, **owner(tenant, namespace)}
    )
    if as_json:
        print_json(made)
    else:
        say(f"made KV namespace {printable(title)}: {made['id']}")


def owner(tenant: str | None, namespace: str | None) -> dict[str, str]:
    """The fields that make a resource a tenant's. Raises BadUsage for one without the other."""
    if tenant is None and namespace is None:
        return {}
    if tenant is None or namespace is None:
        raise BadUsage("--tenant and --namespace go together: a tenant is one of a dispatch namespace")
    return {"tenant": tenant, "namespace": namespace}


@namespaces.command("delete")
@_title
@force_option
@yes_option
@client_command
def _delete_namespace(client: ApiClient, title: str, force: bool, yes: bool) -> None:
    """Delete a KV namespace and every value in it.

    \b
    Example:
      tenantry kv namespaces delete settings
    """
    namespace_id = kv_namespace_id(client, title)
    confirm(f"Delete the KV namespace {printable(title)} with all its values?", yes)
    delete_unless_used(client, client.path("storage", "kv", "namespaces", namespace_id), force=force)
    say(f"deleted KV namespace {printable(title)}")


def _values(client: ApiClient, title: str, *pieces: str) -> str:
    return client.path("storage", "kv", "namespaces", kv_namespace_id(client, title), *pieces)


@command.command("list")
@_title
@click.option("--prefix", default="", help="Only keys that begin with this.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many; all, by default.")
@json_option
@client_command
def list_(client: ApiClient, title: str, prefix: str, limit: int | None, as_json: bool) -> None:
    """Show keys, in byte order.

    \b
    Example:
      tenantry kv list settings --prefix user: --limit 20
    """
    keys = client.cursor_pages(_values(client, title, "keys"), {"prefix": prefix or None}, at_most=limit)
    if as_json:
        print_json(list(keys))
        return
    rows = [
        (
            item["name"],
            item.get("expiration"),
            "" if item.get("metadata") is None else json.dumps(item["metadata"]),
        )
        for item in keys
    ]
    print_table(("key", "expires (unix s)", "metadata"), rows, empty="no key there")


@command.command()
@_title
@_key
@json_option
@client_command
def get(client: ApiClient, title: str, key: str, as_json: bool) -> None:
    """Write a value to stdout, byte for byte. With --json: value, metadata and expiration; a value
    that is no UTF-8 text as base64.

    \b
    Example:
      tenantry kv get settings logo.png > logo.png
    """
    path = _values(client, title, "values", key)
    reply = client.get_bytes(path)
    if as_json:
        expiration = reply.headers.get("expiration")
        metadata = client.get(_values(client, title, "metadata", key))
        print_json(
            {
                "key": key,
                **_as_json(reply.body),
                "metadata": metadata,
                "expiration": int(expiration) if expiration else None,
            }
        )
        return
    if sys.stdout.isatty():
        _show(reply.body)
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(reply.body)
    sys.stdout.buffer.flush()


def _as_json(value: bytes) -> dict[str, object]:
    try:
        return {"value": value.decode()}
    except UnicodeDecodeError:
        import base64

        return {"value": base64.b64encode(value).decode(), "base64": True}


def _show(value: bytes) -> None:
    """A value on a terminal: its lines with control characters shown; bytes are not thrown at it."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise CliError(
            f"the value is {len(value)} bytes that are no text", hint="send them to a file: … > FILE"
        ) from None
    for line in text.splitlines():
        say(printable(line))


@command.command()
@_title
@_key
@click.argument("value", required=False)
@click.option(
    "--file", "file", type=click.Path(path_type=Path), help="Take the value from a file, - is stdin."
)
@click.option("--metadata", help="JSON kept beside the value, at most 1024 bytes.")
@click.option("--ttl", type=click.IntRange(min=60), help="Seconds until it is gone, 60 or more.")
@click.option("--expires", type=click.IntRange(min=1), help="UNIX time in seconds at which it is gone.")
@client_command
def put(
    client: ApiClient,
    title: str,
    key: str,
    value: str | None,
    file: Path | None,
    metadata: str | None,
    ttl: int | None,
    expires: int | None,
) -> None:
    """Set a value: VALUE, or the bytes of --file.

    \b
    Examples:
      tenantry kv put settings greeting "Hello"
      tenantry kv put settings logo.png --file logo.png --metadata '{"type": "image/png"}'
    """
    if (value is None) == (file is None):
        raise BadUsage("give either VALUE or --file FILE")
    data = value.encode() if value is not None else b""
    if file is not None:
        data = read_file(file, at_most=VALUE_BYTES, what="value")
    about = None if metadata is None else _check_json(metadata)
    path = _values(client, title, "values", key)
    query = {"expiration_ttl": ttl, "expiration": expires}
    if about is None:
        client.put_bytes(path, data, "application/octet-stream", query)
    else:
        content_type, body = encode_multipart(
            [
                Part("value", data, "application/octet-stream", "value"),
                Part("metadata", about, "application/json"),
            ]
        )
        client.put_bytes(path, body, content_type, query)
    note(f"put {printable(key)}")


def _check_json(text: str) -> bytes:
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadUsage(f"--metadata is no JSON: {error}") from None
    return text.encode()


@command.command()
@_title
@_key
@client_command
def delete(client: ApiClient, title: str, key: str) -> None:
    """Delete a value. A key that is not there is no error.

    \b
    Example:
      tenantry kv delete settings greeting
    """
    client.delete(_values(client, title, "values", key))
    note(f"deleted {printable(key)}")
