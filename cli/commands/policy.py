"""Egress policies: set and shown through the API, tested here without a network."""

from __future__ import annotations

import click

from cli.client import ApiClient
from cli.params import NAMESPACE_OR_DASH

POLICY_BYTES = 1 << 20

_namespace = click.argument("namespace", type=NAMESPACE_OR_DASH, metavar="NS")


def policy_path(client: ApiClient, namespace: str) -> str:
    if namespace == "-":
        return client.path("workers", "egress-policy")
    return client.path("workers", "dispatch", "namespaces", namespace, "egress-policy")
