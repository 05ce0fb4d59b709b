"""Egress policies that a host keeps: set, shown, deleted, rolled back. The commands of `tenantry policy` that speak
to the API.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from cli.client import ApiClient
from cli.errors import BadUsage
from cli.output import note, print_json, print_table, printable, say
from cli.params import (
    NAMESPACE_OR_DASH,
    TAG,
    TENANT,
    client_command,
    confirm,
    json_option,
    yes_option,
)
from cli.policy_files import check_policy_text, read_policy_text

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Document:
    """Which policy a command means."""

    namespace: str
    tag: str | None
    tenant: str | None

    def path(self, client: ApiClient, *pieces: str) -> str:
        layer = () if self.tag is None else ("tags", self.tag)
        layer = layer if self.tenant is None else ("tenants", self.tenant)
        return egress_path(client, self.namespace, "egress-policy", *layer, *pieces)

    def __str__(self) -> str:
        place = "plain scripts" if self.namespace == "-" else f"namespace {self.namespace}"
        if self.tag is not None:
            return f"tag {printable(self.tag)} of {place}"
        return f"tenant {self.tenant} of {place}" if self.tenant is not None else place


def egress_path(client: ApiClient, namespace: str, *pieces: str) -> str:
    """Below a dispatch namespace; `-` is the account's plain scripts."""
    if namespace == "-":
        return client.path("workers", *pieces)
    return client.path("workers", "dispatch", "namespaces", namespace, *pieces)


def _of_document(function: F) -> F:
    """Give a command NS, --tag and --tenant."""
    for decorate in (
        click.option("--tenant", type=TENANT, help="The policy of this tenant, beside its namespace's."),
        click.option(
            "--tag", type=TAG, help="The policy of scripts with this tag, beside their namespace's."
        ),
        click.argument("namespace", type=NAMESPACE_OR_DASH, metavar="NS"),
    ):
        function = decorate(function)
    return function


_message = click.option("--message", help="Why, for whoever reads the versions.")
_if_version = click.option(
    "--if-version",
    type=click.IntRange(0),
    help="Only if this version is in force; 0: only if none is.",
)


def _document(namespace: str, tag: str | None, tenant: str | None) -> Document:
    if tag is not None and tenant is not None:
        raise BadUsage("--tag and --tenant: one policy at a time; name one of them")
    return Document(namespace, tag, tenant)


def _condition(if_version: int | None) -> Mapping[str, str]:
    if if_version is None:
        return {}
    return {"If-Match": f'"{if_version}"'} if if_version else {"If-None-Match": "*"}


def _warn(envelope: Mapping[str, Any]) -> None:
    for message in envelope.get("messages") or []:
        note(f"warning: {printable(message.get('message'))}")


@click.command("set")
@_of_document
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option(
    "--widen", is_flag=True, help="With --tag or --tenant: it may allow what the namespace's policy denies."
)
@_message
@_if_version
@click.option("--dry-run", is_flag=True, help="Let the host judge it, and change nothing.")
@json_option
@client_command
def set_(
    client: ApiClient,
    namespace: str,
    tag: str | None,
    tenant: str | None,
    file: Path,
    widen: bool,
    message: str | None,
    if_version: int | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Set the policy to FILE (YAML or JSON; - is stdin). It holds from the next request on.

    With --tag or --tenant it holds beside the namespace's policy: what leaves must be allowed by each.

    \b
    Examples:
      tenantry policy set production policy.yaml --message "payments moved"
      tenantry policy set production acme.yaml --tenant acme
    """
    document = _document(namespace, tag, tenant)
    text = read_policy_text(file)
    check_policy_text(file, text)
    query = {
        "message": message,
        "widen": "true" if widen else None,
        "validate_only": "true" if dry_run else None,
    }
    envelope = client.envelope(
        "PUT",
        document.path(client),
        query,
        body=text.encode(),
        content_type="application/yaml",
        headers=_condition(if_version),
    )
    _warn(envelope)
    result = envelope.get("result")
    if as_json:
        print_json(result)
    elif dry_run:
        say(f"{file} would do for {document}; nothing was changed")
    else:
        version = f", version {result['version']}" if isinstance(result, dict) and "version" in result else ""
        say(f"set the egress policy of {document}{version}")


@click.command()
@_of_document
@click.option("--version", type=click.IntRange(1), help="This version instead of the one in force.")
@json_option
@client_command
def get(
    client: ApiClient, namespace: str, tag: str | None, tenant: str | None, version: int | None, as_json: bool
) -> None:
    """Show the policy as it was set.

    \b
    Example:
      tenantry policy get production > policy.yaml
    """
    document = _document(namespace, tag, tenant)
    pieces = () if version is None else ("versions", str(version))
    result = client.get(document.path(client, *pieces))
    if as_json:
        print_json(result)
        return
    if result["policy"] is None:
        note(f"version {version} deleted the egress policy of {document}")
        return
    if not sys.stdout.isatty():
        sys.stdout.write(str(result["policy"]))
        return
    for line in str(result["policy"]).splitlines():
        say(printable(line))


@click.command()
@_of_document
@json_option
@client_command
def versions(client: ApiClient, namespace: str, tag: str | None, tenant: str | None, as_json: bool) -> None:
    """List the versions of a policy, the newest first: who made them, when and why.

    \b
    Example:
      tenantry policy versions production
    """
    document = _document(namespace, tag, tenant)
    found = list(client.pages(document.path(client, "versions")))
    if as_json:
        print_json(found)
        return
    print_table(
        ("version", "at", "by", "digest", "", "message"),
        [
            (
                each.get("version"),
                each.get("modified_on"),
                (each.get("author") or {}).get("name"),
                str(each.get("digest"))[:16],
                "deleted" if each.get("deleted") else "widens" if each.get("widen") else "",
                each.get("message"),
            )
            for each in found
        ],
        empty=f"{document} never had an egress policy",
    )


@click.command()
@_of_document
@click.argument("version", type=click.IntRange(1))
@_message
@_if_version
@json_option
@client_command
def rollback(
    client: ApiClient,
    namespace: str,
    tag: str | None,
    tenant: str | None,
    version: int,
    message: str | None,
    if_version: int | None,
    as_json: bool,
) -> None:
    """Bring back what VERSION said, as a new version. It holds from the next request on.

    \b
    Example:
      tenantry policy rollback production 42
    """
    document = _document(namespace, tag, tenant)
    wanted: dict[str, Any] = {"version": version, **({"message": message} if message else {})}
    envelope = client.envelope(
        "POST",
        document.path(client, "rollback"),
        body=json.dumps(wanted).encode(),
        content_type="application/json",
        headers=_condition(if_version),
    )
    _warn(envelope)
    result = envelope["result"]
    if as_json:
        print_json(result)
        return
    say(f"rolled the egress policy of {document} back to version {version}, as version {result['version']}")


@click.command()
@_of_document
@_message
@_if_version
@yes_option
@client_command
def delete(
    client: ApiClient,
    namespace: str,
    tag: str | None,
    tenant: str | None,
    message: str | None,
    if_version: int | None,
    yes: bool,
) -> None:
    """Delete the policy: of a namespace, from then on nothing may leave. Its versions stay.

    \b
    Example:
      tenantry policy delete staging
    """
    document = _document(namespace, tag, tenant)
    whole = tag is None and tenant is None
    confirm(
        f"Deny every request that leaves {document}?"
        if whole
        else f"Delete the egress policy of {document}?",
        yes,
    )
    query = {"message": message}
    client.envelope("DELETE", document.path(client), query, headers=_condition(if_version))
    say(f"deleted the egress policy of {document}{'; nothing may leave now' if whole else ''}")


@click.command("list")
@click.argument("namespace", type=NAMESPACE_OR_DASH, metavar="NS")
@json_option
@client_command
def list_(client: ApiClient, namespace: str, as_json: bool) -> None:
    """List the policies in force: the namespace's own, and those of its tags and tenants.

    \b
    Example:
      tenantry policy list production
    """
    found = list(client.pages(egress_path(client, namespace, "egress-policy", "layers")))
    if as_json:
        print_json(found)
        return
    print_table(
        ("layer", "name", "version", "at", "by", ""),
        [
            (
                each.get("layer"),
                each.get("name"),
                each.get("version"),
                each.get("modified_on"),
                (each.get("author") or {}).get("name"),
                "widens" if each.get("widen") else "",
            )
            for each in found
        ],
        empty="no egress policy is set: nothing may leave",
    )


COMMANDS: Final = (set_, get, versions, rollback, delete, list_)
