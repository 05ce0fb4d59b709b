"""Finds KV namespaces, SQL databases and queues by the names that people give them; the API knows them by id."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from cli.client import ApiClient
from cli.errors import CliError
from cli.output import printable

_ID = re.compile(r"[0-9a-f]{32}")


def find_kv_namespace(client: ApiClient, title: str) -> Mapping[str, Any] | None:
    """The KV namespace with this title, or None. A list of many pages is read until it is found."""
    for item in client.pages(client.path("storage", "kv", "namespaces"), {"order": "title"}):
        if item.get("title") == title:
            return dict(item)
    return None


def kv_namespace_id(client: ApiClient, title_or_id: str) -> str:
    """The id of the KV namespace with this title; what looks like an id is taken for one when no title
    is. Raises CliError.
    """
    found = find_kv_namespace(client, title_or_id)
    if found is not None:
        return str(found["id"])
    if _ID.fullmatch(title_or_id):
        return title_or_id
    raise CliError(
        f"there is no KV namespace with the title {printable(title_or_id)!r}",
        hint="`tenantry kv namespaces` lists them; `tenantry kv namespaces create TITLE` makes one",
    )


def find_d1_database(client: ApiClient, name: str) -> Mapping[str, Any] | None:
    """The SQL database with this name, or None."""
    for item in client.pages(client.path("d1", "database"), {"name": name}):
        if item.get("name") == name:
            return dict(item)
    return None


def find_queue(client: ApiClient, name: str) -> Mapping[str, Any] | None:
    """The queue with this name, or None."""
    for item in client.pages(client.path("queues"), {"name": name}):
        if item.get("queue_name") == name:
            return dict(item)
    return None


def queue_id(client: ApiClient, name: str) -> str:
    """The id of the queue with this name. Raises CliError."""
    found = find_queue(client, name)
    if found is None:
        raise CliError(
            f"there is no queue {printable(name)!r}",
            hint="`tenantry queues list` shows them; `tenantry queues create NAME` makes one",
        )
    return str(found["queue_id"])
