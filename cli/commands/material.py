"""What egress policies name: secrets, CA bundles and client certificates. Put and deleted here, never shown again."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from cli.client import ApiClient
from cli.commands.secrets import read_secret
from cli.errors import BadUsage
from cli.kept_policies import egress_path
from cli.output import note, print_json, print_table, printable, say
from cli.params import (
    NAMESPACE_OR_DASH,
    Name,
    client_command,
    confirm,
    delete_unless_used,
    force_option,
    json_option,
    read_file,
    yes_option,
)
from model.identity import parse_material_name

_MOST_BYTES: Final = 512 * 1024

_namespace = click.argument("namespace", type=NAMESPACE_OR_DASH, metavar="NS")
_name = click.argument("name", type=Name("NAME", parse_material_name), metavar="NAME")
_file = click.Path(path_type=Path)


@click.group(short_help="Keep secrets and certificates for egress policies.")
def command() -> None:
    """Materials are what an egress policy names: a secret that it injects, a CA bundle that it trusts, a client
    certificate that it shows. Workers never see them. NS is a dispatch namespace, or `-` for plain scripts.

    \b
    Example:
      printf %s "$KEY" | tenantry material put production payments-key
    """


@command.command()
@_namespace
@_name
@click.option("--file", type=_file, help="Take the secret from this file instead of stdin.")
@click.option("--ca-bundle", type=_file, metavar="PEM", help="It is the certificates in this file.")
@click.option(
    "--certificate",
    type=_file,
    metavar="PEM",
    help="It is a client certificate, with its chain; needs --key.",
)
@click.option("--key", type=_file, metavar="PEM", help="The certificate's private key, not encrypted.")
@json_option
@client_command
def put(
    client: ApiClient,
    namespace: str,
    name: str,
    file: Path | None,
    ca_bundle: Path | None,
    certificate: Path | None,
    key: Path | None,
    as_json: bool,
) -> None:
    """Set a material: a secret from stdin (one line break at its end is dropped; a terminal asks for it), or
    what the options name.

    The value is no argument, since a process's arguments are everyone's to read.

    \b
    Examples:
      tenantry material put production payments-key --file key.txt
      tenantry material put production partner --certificate client.pem --key client.key
    """
    value = _value(name, file, ca_bundle, certificate, key)
    path = egress_path(client, namespace, "egress-materials", name)
    envelope = client.put_envelope(path, value)
    for message in envelope.get("messages") or []:
        note(f"warning: {printable(message.get('message'))}")
    result = envelope.get("result") or {}
    if as_json:
        print_json(result)
        return
    end = f", valid until {result['not_after']}" if "not_after" in result else ""
    say(f"set the {value['kind'].replace('_', ' ')} {name}{end}")


def _value(
    name: str, file: Path | None, ca_bundle: Path | None, certificate: Path | None, key: Path | None
) -> dict[str, Any]:
    if (certificate is None) != (key is None):
        raise BadUsage("--certificate and --key belong together")
    kinds = [option for option in (file, ca_bundle, certificate) if option is not None]
    if len(kinds) > 1:
        raise BadUsage("--file, --ca-bundle and --certificate: a material is one of them")
    if ca_bundle is not None:
        return {"kind": "ca_bundle", "pem": _text(ca_bundle, "CA bundle")}
    if certificate is not None and key is not None:
        return {
            "kind": "client_certificate",
            "certificate_pem": _text(certificate, "certificate"),
            "key_pem": _text(key, "key"),
        }
    if file is not None:
        return {"kind": "secret", "value": _text(file, "secret").removesuffix("\n").removesuffix("\r")}
    return {"kind": "secret", "value": read_secret(name)}


def _text(file: Path, what: str) -> str:
    try:
        return read_file(file, at_most=_MOST_BYTES, what=what).decode()
    except UnicodeDecodeError as error:
        raise BadUsage(f"the {what} {file} is no UTF-8 text: {error.reason} at byte {error.start}") from None


@command.command("list")
@_namespace
@json_option
@client_command
def list_(client: ApiClient, namespace: str, as_json: bool) -> None:
    """Show names, kinds and expiry; no values.

    \b
    Example:
      tenantry material list production
    """
    found = list(client.pages(egress_path(client, namespace, "egress-materials")))
    if as_json:
        print_json(found)
        return
    print_table(
        ("name", "kind", "version", "modified", "by", "valid until"),
        [
            (
                each.get("name"),
                each.get("kind"),
                each.get("version"),
                each.get("modified_on"),
                (each.get("author") or {}).get("name"),
                each.get("not_after"),
            )
            for each in found
        ],
        empty="no material",
    )


@command.command()
@_namespace
@_name
@force_option
@yes_option
@client_command
def delete(client: ApiClient, namespace: str, name: str, force: bool, yes: bool) -> None:
    """Delete a material. One that a policy in force names is kept, unless --force says so.

    \b
    Example:
      tenantry material delete production payments-key
    """
    confirm(f"Delete the material {name}?", yes)
    delete_unless_used(client, egress_path(client, namespace, "egress-materials", name), force=force)
    say(f"deleted the material {name}")
