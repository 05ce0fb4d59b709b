"""A worker's secrets: set and deleted here, never shown again."""

from __future__ import annotations

import sys
import time
from typing import Final

import click

from cli.client import ApiClient
from cli.errors import BadUsage
from cli.output import note, print_json, print_table, printable, say
from cli.params import BINDING, client_command, json_option, label, namespace_argument, plain, script_argument

_POLL_S: Final = 0.2
_name = click.argument("name", type=BINDING, metavar="SECRET")


@click.group(short_help="Set a worker's secrets.")
def command() -> None:
    """Secrets of a worker: it reads them by name, nobody reads them back. NS is a dispatch namespace,
    or `-` for plain scripts.

    \b
    Example:
      tenantry secrets put production billing API_KEY < key.txt
    """


@command.command()
@namespace_argument
@script_argument
@_name
@client_command
def put(client: ApiClient, namespace: str, script: str, name: str) -> None:
    """Set a secret to what stdin holds (one line break at its end is dropped); a terminal asks for it.

    The value is no argument, since a process's arguments are everyone's to read.

    \b
    Example:
      printf %s "$KEY" | tenantry secrets put production billing API_KEY
    """
    text = read_secret(name)
    path = client.script(plain(namespace), script, "secrets")
    client.put(path, {"name": name, "text": text, "type": "secret_text"})
    say(f"set {name} of {label(plain(namespace), script)}")


def read_secret(name: str) -> str:
    """The value of one secret, from a prompt that does not echo or from all of stdin. Raises BadUsage."""
    if sys.stdin.isatty():
        return str(click.prompt(name, hide_input=True, err=True))
    text = read_stdin_text().removesuffix("\n").removesuffix("\r")
    if not text:
        raise BadUsage(f"stdin holds no value for the secret {name}")
    return text


def read_stdin_text() -> str:
    """All of stdin, line breaks as they are. Raises BadUsage when it is no UTF-8."""
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise BadUsage(f"stdin is no UTF-8 text: {error.reason} at byte {error.start}") from None


@command.command("list")
@namespace_argument
@script_argument
@json_option
@client_command
def list_(client: ApiClient, namespace: str, script: str, as_json: bool) -> None:
    """Show the names of a worker's secrets.

    \b
    Example:
      tenantry secrets list production billing
    """
    found = list(client.get(client.script(plain(namespace), script, "secrets")) or [])
    if as_json:
        print_json(found)
        return
    print_table(("name", "type"), [(item.get("name"), item.get("type")) for item in found], empty="no secret")


@command.command()
@namespace_argument
@script_argument
@_name
@client_command
def delete(client: ApiClient, namespace: str, script: str, name: str) -> None:
    """Delete a secret.

    \b
    Example:
      tenantry secrets delete production billing API_KEY
    """
    client.delete(client.script(plain(namespace), script, "secrets", name))
    say(f"deleted {name} of {label(plain(namespace), script)}")


@command.command()
@json_option
@client_command
def rotate(client: ApiClient, as_json: bool) -> None:
    """Make a new root key, and seal every secret and material anew under it, while the host serves.

    Of several machines, the new key is copied to the others first: this names them, and each finds it by itself. Waits
    until all is done; cut short, the host goes on by itself, also after a restart. The new key is then the file
    root-key; the old one stays beside it as root-key.ID: keep it as long as backups of before. Images are compiled
    again at first use after the next restart.

    \b
    Example:
      tenantry secrets rotate
    """
    path = client.path("root-key", "rotation")
    state = client.envelope("POST", path)["result"]
    before, told = state["previous_key_id"], ""
    while state["rotating"]:
        waiting = ", ".join(map(printable, state["waiting_for"]))
        if waiting and waiting != told:
            note(
                f"waiting for {waiting}: copy {state['next_key_file']} there, beside its root-key, mode 0600"
            )
        told = waiting
        time.sleep(_POLL_S)
        state = client.get(path)
    if as_json:
        print_json(state)
        return
    say(
        f"{state['resealed']} secrets and materials were under root key {before}, and are under {state['key_id']}"
    )
    for name in state["unopened"]:
        note(f"{printable(name)} opens under neither: set it anew")
