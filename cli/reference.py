"""docs/cli.md, from the commands' own help: `python -m cli.reference > docs/cli.md`; a test holds them equal."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from importlib import import_module

import click

from cli.errors import ExitCode
from cli.main import SECTIONS

_EXITS = {
    ExitCode.OK: "done",
    ExitCode.REFUSED: "the host refused, or a check (`doctor`, `policy test`, `trigger`) did not hold",
    ExitCode.USAGE: "the command line, or a file named in it, is wrong; nothing was sent",
    ExitCode.UNREACHABLE: "no host answered",
    ExitCode.AUTH: "no token, an unknown one, or one that may not do this",
    ExitCode.INTERRUPTED: "ended by Ctrl-C (`logs --follow` ends with 0)",
}
#: Every client command has them; said once.
_COMMON = ("url", "account", "data", "as_json")


def page() -> str:
    lines = [
        "# The command line",
        "",
        "Made by `python -m cli.reference` from the commands' own help; change it there.",
        "",
        "Client commands speak to the control API and nothing else. Which host, account and token they use,",
        "and how `--url`, `--account` and `--data` say so, is in [settings.md](settings.md). Results go to",
        "stdout, notes and errors to stderr. `--json` prints what the API answered. Where NS names a dispatch",
        "namespace, `-` stands for the account's plain scripts.",
        "",
        "| exit code | meaning |",
        "|---|---|",
        *(f"| {int(code)} | {text} |" for code, text in _EXITS.items()),
        "",
    ]
    for section, names in SECTIONS.items():
        lines += [f"## {section}", ""]
        for name in names:
            command = import_module(f"cli.commands.{name}").command
            lines += _describe(command, click.Context(command, info_name=f"tenantry {name}"))
    return "\n".join(lines).rstrip() + "\n"


def _describe(command: click.Command, ctx: click.Context) -> Iterator[str]:
    usage = " ".join([ctx.command_path, *command.collect_usage_pieces(ctx)])
    yield from (f"### `{usage}`", "")
    yield from _paragraphs(inspect.cleandoc(command.help or ""))
    # Only client commands have --url.
    said = _COMMON if any(param.name == "url" for param in command.params) else ("as_json",)
    options = [
        record
        for param in command.params
        if param.name not in said and (record := param.get_help_record(ctx)) is not None
    ]
    if options:
        yield from ("| option | meaning |", "|---|---|")
        for names, text in options:
            yield f"| `{names.replace('|', '/')}` | {text.replace('|', '/')} |"
        yield ""
    if isinstance(command, click.Group):
        for name, child in sorted(command.commands.items()):
            yield from _describe(child, click.Context(child, info_name=name, parent=ctx))


def _paragraphs(text: str) -> Iterator[str]:
    """click's help: paragraphs, of which those after a line of \\b are kept as they are."""
    for block in text.split("\n\n"):
        if block.startswith("\b\n"):
            lines = block[2:].split("\n")
            titled = not lines[0].startswith(" ")
            yield from ((lines[0], "") if titled else ())
            yield from (
                "```sh",
                *(line.removeprefix("  ") for line in lines[1 if titled else 0 :]),
                "```",
                "",
            )
        else:
            yield from (*block.split("\n"), "")


if __name__ == "__main__":
    sys.stdout.write(page())
