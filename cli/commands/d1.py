"""SQL databases: made, queried, dumped, put back."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from cli.client import ApiClient
from cli.commands.kv import owner
from cli.errors import BadUsage
from cli.output import note, print_json, print_table, printable, say, size
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

#: The host's own limit of a dump, which it checks too.
DUMP_BYTES = 64 << 20
_COPY_S = 16 * 60.0

_name = click.argument("name", metavar="NAME")


@click.group(short_help="Make SQL databases, query them, dump and restore.")
def command() -> None:
    """A SQL database is SQLite's, with a file of its own; workers reach it through a binding (`deploy --d1`).
    NAME is what it was made with; its id does too.

    \b
    Example:
      tenantry d1 execute shop "SELECT count(*) FROM orders"
    """


@command.command("list")
@click.option("--name", "part", default="", help="Only those whose name holds this.")
@json_option
@client_command
def list_(client: ApiClient, part: str, as_json: bool) -> None:
    """Show every database.

    \b
    Example:
      tenantry d1 list
    """
    found = list(client.pages(client.path("d1", "database"), {"name": part or None}))
    if as_json:
        print_json(found)
        return
    rows = [
        (item.get("name"), item.get("uuid"), item.get("tenant"), size(int(item.get("file_size") or 0)))
        for item in found
    ]
    print_table(("name", "id", "tenant", "size"), rows, empty="no database yet")


@command.command()
@_name
@click.option("--tenant", type=TENANT, help="Who owns it (needs --namespace); the account, by default.")
@click.option("--namespace", type=NAMESPACE, metavar="NS", help="The tenant's dispatch namespace.")
@json_option
@client_command
def create(client: ApiClient, name: str, tenant: str | None, namespace: str | None, as_json: bool) -> None:
    """Make an empty database.

    \b
    Example:
      tenantry d1 create shop --namespace production --tenant acme
    """
    made = client.post(client.path("d1", "database"), {"name": name, **owner(tenant, namespace)})
    if as_json:
        print_json(made)
    else:
        say(f"made database {printable(name)}: {made['uuid']}")


@command.command()
@_name
@force_option
@yes_option
@client_command
def delete(client: ApiClient, name: str, force: bool, yes: bool) -> None:
    """Delete a database with its restore points.

    \b
    Example:
      tenantry d1 delete shop
    """
    confirm(f"Delete the database {printable(name)} with all its restore points?", yes)
    delete_unless_used(client, client.path("d1", "database", name), force=force)
    say(f"deleted database {printable(name)}")


@command.command()
@_name
@click.argument("sql", required=False)
@click.option("--file", "file", type=click.Path(path_type=Path), help="Take the SQL from a file, - is stdin.")
@click.option("--param", "params", multiple=True, help="For a `?`, as text; repeatable.")
@json_option
@client_command
def execute(
    client: ApiClient, name: str, sql: str | None, file: Path | None, params: tuple[str, ...], as_json: bool
) -> None:
    """Run SQL. Several statements are one transaction: all or none.

    \b
    Examples:
      tenantry d1 execute shop "SELECT * FROM orders WHERE id = ?" --param 7
      tenantry d1 execute shop --file schema.sql
    """
    if (sql is None) == (file is None):
        raise BadUsage("give either SQL or --file FILE")
    if file is not None:
        sql = read_file(file, at_most=1 << 20, what="SQL").decode("utf-8", "replace")
    body: dict[str, object] = {"sql": sql}
    if params:
        body["params"] = list(params)
    results = client.post(client.path("d1", "database", name, "query"), body)
    if as_json:
        print_json(results)
        return
    for result in results:
        rows = result["results"]
        if rows:
            print_table(
                list(rows[0]), [[_shown(value) for value in row.values()] for row in rows], empty="no row"
            )
        else:
            note(f"{result['meta']['changes']} rows changed")


def _shown(value: object) -> str:
    if value is None:
        return "NULL"
    return value if isinstance(value, str) else json.dumps(value)


@command.command()
@_name
@click.option("--table", "tables", multiple=True, help="Only this table; repeatable.")
@click.option("--no-data", is_flag=True, help="Without the rows.")
@click.option("--no-schema", is_flag=True, help="Without what makes the tables.")
@click.option("--output", type=click.Path(path_type=Path), help="A file; stdout, by default.")
@client_command
def export(
    client: ApiClient,
    name: str,
    tables: tuple[str, ...],
    no_data: bool,
    no_schema: bool,
    output: Path | None,
) -> None:
    """Write the database as SQL text, as of one moment; others go on using it.

    \b
    Example:
      tenantry d1 export shop --output shop.sql
    """
    flags = "&".join(
        [
            f"no_data={str(no_data).lower()}",
            f"no_schema={str(no_schema).lower()}",
            *(f"table={_encoded(table)}" for table in tables),
        ]
    )
    reply = client.get_bytes(f"{client.path('d1', 'database', name, 'dump')}?{flags}")
    if output is not None:
        output.write_bytes(reply.body)
        note(f"wrote {size(len(reply.body))} to {output}")
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(reply.body)
    sys.stdout.buffer.flush()


def _encoded(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")


@command.command("import")
@_name
@click.argument("file", type=click.Path(path_type=Path))
@client_command
def import_(client: ApiClient, name: str, file: Path) -> None:
    """Run a dump, in one transaction. FILE - is stdin. BEGIN and COMMIT around it are passed over.

    \b
    Example:
      sqlite3 shop.db .dump | tenantry d1 import shop -
    """
    data = read_file(file, at_most=DUMP_BYTES, what="dump")
    envelope = client.envelope(
        "PUT",
        client.path("d1", "database", name, "dump"),
        body=data,
        content_type="application/sql",
        timeout_s=_COPY_S,
    )
    say(f"ran {envelope['result']['num_queries']} statements")


@command.command()
@_name
@click.option("--at", "timestamp", help="Of then: UNIX seconds, or 2026-11-24T17:53:17Z.")
@json_option
@client_command
def bookmark(client: ApiClient, name: str, timestamp: str | None, as_json: bool) -> None:
    """Show the bookmark of now, and make it one to go back to; or the newest known at a time.

    \b
    Example:
      tenantry d1 bookmark shop
    """
    found = client.get(
        client.path("d1", "database", name, "time_travel", "bookmark"), {"timestamp": timestamp}
    )
    if as_json:
        print_json(found)
    else:
        say(f"{found['bookmark']}  {found['timestamp']}")


@command.command()
@_name
@click.option("--bookmark", "wanted", help="As `tenantry d1 bookmark` shows it.")
@click.option("--at", "timestamp", help="To what was there then: UNIX seconds, or 2026-11-24T17:53:17Z.")
@yes_option
@client_command
def restore(client: ApiClient, name: str, wanted: str | None, timestamp: str | None, yes: bool) -> None:
    """Put an earlier state back, in place. What is there now can be gone back to by the bookmark that is shown.

    \b
    Example:
      tenantry d1 restore shop --at 2026-11-24T17:53:17Z
    """
    if (wanted is None) == (timestamp is None):
        raise BadUsage("give either --bookmark or --at")
    confirm(f"Replace what is in the database {printable(name)} by an earlier state?", yes)
    given = {"bookmark": wanted, "timestamp": timestamp}
    query = "&".join(f"{key}={_encoded(value)}" for key, value in given.items() if value is not None)
    done = client.post(f"{client.path('d1', 'database', name, 'time_travel', 'restore')}?{query}", {})
    say(f"{done['message']}; to undo: --bookmark {done['previous_bookmark']}")
