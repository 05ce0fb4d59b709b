"""Data points that workers wrote: queried, and which datasets there are."""

from __future__ import annotations

import json
from pathlib import Path

import click

from cli.client import ApiClient
from cli.errors import BadUsage
from cli.output import note, print_json, print_table, size
from cli.params import NAMESPACE, TENANT, client_command, json_option, read_file

_namespace = click.option(
    "--namespace", type=NAMESPACE, metavar="NS", help="Of this dispatch namespace's tenants."
)
_tenant = click.option("--tenant", type=TENANT, metavar="ID", help="Of this tenant (needs --namespace).")


@click.group(short_help="Query the data points that workers wrote.")
def command() -> None:
    """A dataset is a table of data points, which workers write through a binding (`deploy --analytics`). Its
    columns are timestamp, dataset, _sample_interval, index1, blob1 to blob20, double1 to double20, and tenant.

    \b
    Example:
      tenantry analytics query "SELECT blob1, count(*) FROM visits GROUP BY blob1" --namespace production
    """


@command.command()
@click.argument("sql", required=False)
@click.option("--file", "file", type=click.Path(path_type=Path), help="Take the SQL from a file, - is stdin.")
@_namespace
@_tenant
@json_option
@client_command
def query(
    client: ApiClient,
    sql: str | None,
    file: Path | None,
    namespace: str | None,
    tenant: str | None,
    as_json: bool,
) -> None:
    """Run one SELECT, in SQLite's words, over the account's datasets, or those of --namespace.

    \b
    Examples:
      tenantry analytics query "SELECT * FROM usage ORDER BY timestamp DESC LIMIT 10"
      tenantry analytics query "SELECT tenant, sum(double1) FROM usage GROUP BY tenant" --namespace production
    """
    if (sql is None) == (file is None):
        raise BadUsage("give either SQL or --file FILE")
    if file is not None:
        sql = read_file(file, at_most=100_000, what="SQL").decode("utf-8", "replace")
    path = client.path("analytics_engine", "sql")
    answer = json.loads(client.post_text(path, sql or "", _whose(namespace, tenant)).body)
    if as_json:
        print_json(answer)
        return
    names = [column["name"] for column in answer["meta"]]
    print_table(names, [[_shown(row[name]) for name in names] for row in answer["data"]], empty="no row")


@command.command()
@_namespace
@_tenant
@json_option
@client_command
def datasets(client: ApiClient, namespace: str | None, tenant: str | None, as_json: bool) -> None:
    """Show every dataset, of the account and of all tenants, or those of --namespace.

    \b
    Example:
      tenantry analytics datasets --namespace production --tenant acme
    """
    found = list(client.pages(client.path("analytics_engine", "datasets"), _whose(namespace, tenant)))
    if as_json:
        print_json(found)
        return
    names = ("dataset", "namespace", "tenant", "points", "size", "oldest", "newest")
    rows = [
        (
            item["dataset"],
            item["namespace"] or "-",
            item["tenant"] or "-",
            item["points"],
            size(int(item["bytes"])),
            item["oldest"],
            item["newest"],
        )
        for item in found
    ]
    print_table(names, rows, empty="no dataset yet: one is there from its first point")
    if found:
        note("times are UTC")


def _whose(namespace: str | None, tenant: str | None) -> dict[str, str | None]:
    if tenant is not None and namespace is None:
        raise BadUsage("--tenant needs --namespace: a tenant is one of a dispatch namespace")
    return {"namespace": namespace, "tenant": tenant}


def _shown(value: object) -> object:
    return "" if value is None else value
