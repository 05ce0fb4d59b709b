"""Tenants: what each owns, how much it may have, and deleting one with all of that."""

from __future__ import annotations

from typing import Any

import click

from cli.client import ApiClient
from cli.errors import BadUsage, CliError
from cli.output import print_json, print_table, say, size
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
from storage.tenant_quotas import Quota, parse_value

_namespace = click.argument("namespace", type=NAMESPACE, metavar="NS")
_tenant = click.argument("tenant", type=TENANT, metavar="TENANT")
_COUNTS = [quota for quota in Quota if not quota.endswith("_bytes")]
_WHO = {"default": "by default", "host": "for every tenant", "tenant": "for this tenant"}


@click.group(short_help="Say what each tenant owns and may have; delete one.")
def command() -> None:
    """Tenants of a dispatch namespace: whoever owns workers, KV namespaces, queues or databases in it.

    \b
    Example:
      tenantry tenants show production acme
    """


@command.command("list")
@_namespace
@json_option
@client_command
def list_(client: ApiClient, namespace: str, as_json: bool) -> None:
    """Show every tenant of a namespace, and how much it owns.

    \b
    Example:
      tenantry tenants list production --json
    """
    found = list(client.pages(_path(client, namespace)))
    if as_json:
        print_json(found)
        return
    rows = [(item["tenant"], *(item["usage"].get(quota) for quota in _COUNTS)) for item in found]
    header = ("tenant", *(quota.replace("_", " ") for quota in _COUNTS))
    print_table(header, rows, empty=f"nobody owns anything in namespace {namespace} yet")


@command.command()
@_namespace
@_tenant
@json_option
@client_command
def show(client: ApiClient, namespace: str, tenant: str, as_json: bool) -> None:
    """Show what a tenant owns and holds, beside how much it may have.

    \b
    Example:
      tenantry tenants show production acme
    """
    found = client.get(_path(client, namespace, tenant))
    if as_json:
        print_json(found)
        return
    rows = [
        (quota, _amount(quota, found["usage"][quota]), *_limit(quota, found["quotas"][quota]))
        for quota in Quota
    ]
    print_table(("quota", "used", "at most", "set"), rows, empty="")
    if found["deleting"]:
        say("it is being deleted")


@command.command()
@_namespace
@_tenant
@click.argument("quotas", nargs=-1, metavar="NAME=VALUE…")
@json_option
@client_command
def quota(client: ApiClient, namespace: str, tenant: str, quotas: tuple[str, ...], as_json: bool) -> None:
    """Set how much a tenant may have; the other quotas stay. Without any NAME=VALUE: show them.

    A value is a whole number (bytes may have KiB, MiB or GiB), `none` for as much as there is room for, or
    `default` for what the host says of every tenant. A quota below what is used deletes nothing: the tenant
    can't take more.

    \b
    Examples:
      tenantry tenants quota production acme kv_bytes=1GiB queues=3
      tenantry tenants quota production acme kv_bytes=default
    """
    path = f"{_path(client, namespace, tenant)}/quotas"
    wanted = dict(_parse(text) for text in quotas)
    shown = client.get(path)
    if wanted:
        own = {name: limit["value"] for name, limit in shown.items() if limit["set_by"] == "tenant"}
        for name, value in wanted.items():
            own.pop(name, None)
            if value != "default":
                own[name] = value
        shown = client.put(path, own)
    if as_json:
        print_json(shown)
        return
    rows = [(name, *_limit(name, shown[name])) for name in Quota]
    print_table(("quota", "at most", "set"), rows, empty="")


@command.command()
@_namespace
@_tenant
@force_option
@yes_option
@client_command
def delete(client: ApiClient, namespace: str, tenant: str, force: bool, yes: bool) -> None:
    """Delete a tenant with all it owns: workers with their routes, secrets and cron triggers, KV namespaces,
    queues, databases, its egress policy and quotas. Audit records stay. --force: although others use
    something of it. Cut short, it goes on when it is given again, or when the host starts.

    \b
    Example:
      tenantry tenants delete production acme
    """
    confirm(f"Delete tenant {tenant} of namespace {namespace} with all it owns?", yes)
    path = _path(client, namespace, tenant)
    done = delete_unless_used(client, path, force=force)
    if not done["done"]:
        raise CliError(
            f"not all of tenant {tenant} is removed yet",
            hint="the host's log has the reason; give the command again to go on",
        )
    counts = ", ".join(
        f"{count} {name.replace('_', ' ')}" for name, count in done["deleted"].items() if count
    )
    say(f"deleted tenant {tenant} of namespace {namespace}" + (f": {counts}" if counts else ""))


def _path(client: ApiClient, namespace: str, *tenant: str) -> str:
    return client.path("workers", "dispatch", "namespaces", namespace, "tenants", *tenant)


def _parse(text: str) -> tuple[str, int | str | None]:
    name, equals, value = text.partition("=")
    if not equals or name not in list(Quota):
        raise BadUsage(f"{text[:80]!r} is no NAME=VALUE; names are {', '.join(Quota)}")
    if value == "default":
        return name, value
    try:
        return name, parse_value(Quota(name), value)
    except ValueError as error:
        raise BadUsage(str(error)) from None


def _amount(quota: str, value: int) -> str:
    return size(value) if quota.endswith("_bytes") else str(value)


def _limit(quota: str, limit: dict[str, Any]) -> tuple[str, str]:
    value = limit["value"]
    return "no limit" if value is None else _amount(quota, value), _WHO.get(limit["set_by"], "")
