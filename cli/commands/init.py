"""A folder with a worker to begin with."""

from __future__ import annotations

from pathlib import Path

import click

from cli.errors import CliError
from cli.output import printable, say
from cli.templates import GITIGNORE, TEMPLATES, files_of
from model.identity import InvalidName, parse_script_name


@click.command(short_help="Make a folder with a worker to begin with.")
@click.argument("folder", type=click.Path(path_type=Path), metavar="FOLDER")
@click.option(
    "--template",
    type=click.Choice(sorted(TEMPLATES)),
    default="js",
    show_default=True,
    help="JavaScript, TypeScript, or TypeScript with Hono. The last two have a package.json.",
)
@click.option("--name", metavar="NAME", help="The worker's name; by default, the folder's.")
def command(folder: Path, template: str, name: str | None) -> None:
    """Write a small worker into FOLDER, which is made when missing. No file that is there is changed.

    \b
    Examples:
      tenantry init shop
      tenantry init shop --template ts
      tenantry init shop --template hono
    """
    chosen = name or folder.absolute().name
    try:
        parse_script_name(chosen)
    except InvalidName as error:
        raise CliError(f"{error}", hint="name the worker with --name") from error
    files = files_of(template, chosen)
    if (folder / GITIGNORE).exists():
        del files[GITIGNORE]  # of the repository that it goes into
    there = [path for path in files if (folder / path).exists()]
    if there:
        raise CliError(
            f"{folder / there[0]} is there already; nothing was written", hint="name another folder"
        )
    try:
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
    except OSError as error:
        raise CliError(f"cannot write into {folder}: {error.strerror}") from error
    say(f"made {printable(str(folder))}: {', '.join(files)}")
    shown = printable(str(folder))
    if "package.json" in files:
        say(f"  (cd {shown} && npm install)")
    say(f"  tenantry dev {shown}")
    say(f"  tenantry deploy {shown} --name {chosen} --namespace production --hostname {chosen}.localhost")
