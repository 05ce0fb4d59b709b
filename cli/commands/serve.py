"""`tenantry serve`: its options are the rows of cli.settings; what it does is cli.serve's."""

from __future__ import annotations

import os
from typing import Any

import click

from cli.errors import BadUsage
from cli.serve_settings import serve_settings
from cli.settings import SERVE, Setting


def _option(row: Setting) -> click.Option:
    default = row.default_text or row.default
    notes = [note for note in (row.env, f"default: {default}" if default else "") if note]
    told = f"{row.help} [{'; '.join(notes)}]"
    if row.kind == "flag":
        return click.Option([row.flag, row.name], is_flag=True, flag_value="yes", default=None, help=told)
    return click.Option(
        [row.flag, row.name],
        metavar={"address": "HOST:PORT", "path": "PATH"}.get(row.kind, row.kind.upper()),
        help=told,
    )


def _run(**given: Any) -> int:
    try:
        settings = serve_settings(given, os.environ)
    except ValueError as error:
        raise BadUsage(str(error), hint="tenantry serve --help") from None
    from cli.serve import serve  # the whole host: only whoever runs one pays for loading it

    return serve(settings)


command = click.Command(
    "serve",
    callback=_run,
    params=[_option(row) for row in SERVE if row.flag],
    short_help="Run the host: the visitors' listener, the API, the workers.",
    help="""Run the host until SIGTERM or SIGINT, then drain and exit 0.

The first start makes the data folder and writes the admin token to DATA/admin-token, mode 0600; on a
terminal it is shown too. One host a data folder.

\b
Examples:
  tenantry serve --data ./data
  tenantry serve --data /var/lib/tenantry --http 0.0.0.0:80 --workers 4
""",
)
