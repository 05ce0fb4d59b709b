"""The schema of a data folder, brought up to this release: what every start does, by itself."""

from __future__ import annotations

from pathlib import Path

import click

from cli.data_folder import data_option, require_folder, storage_errors
from cli.output import print_json, say
from cli.params import json_option
from storage.data_files import migrations_of, pending, present
from storage.database import Database


@click.command(short_help="Bring a data folder's schema up to this release.")
@data_option
@click.option("--dry-run", is_flag=True, help="Say what would be done, and change nothing.")
@json_option
def command(data: Path | None, dry_run: bool, as_json: bool) -> None:
    """Apply the numbered migrations that a data folder lacks. `tenantry serve` does so when it starts; by hand it
    can be done, or looked at, before that. Back up first. Processes of the release before that are running go on:
    what they ask still holds; one that starts afterwards has to be of this release.

    \b
    Example:
      tenantry migrate --data ./data --dry-run
    """
    folder = require_folder(data)
    with storage_errors("migrate"):
        # All are looked at before any is changed: one of a newer release stops it.
        lacking = {name: pending(folder, name) for name in present(folder)}
        for name, steps in lacking.items():
            if steps and not dry_run:
                Database.open(folder / name, migrations_of(name)).close()
    found = [
        {"file": name, "stream": step.stream, "number": step.number}
        for name, steps in lacking.items()
        for step in steps
    ]
    if as_json:
        print_json({"applied": not dry_run, "migrations": found})
        return
    for each in found:
        say(f"{'would apply' if dry_run else 'applied'} {each['stream']} {each['number']} to {each['file']}")
    if not found:
        say("the schema is that of this release")
