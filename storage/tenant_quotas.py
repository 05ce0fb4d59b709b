"""How much a tenant may have: names, defaults, and what is said to who wants more. Pure.

A quota is set for a tenant, or for every tenant by the host's `--tenant-quotas`, or it is the default below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from storage.control_records import Owner
from storage.transaction import Row


class Quota(StrEnum):
    """Counts of what a tenant owns, and bytes that it holds."""

    SCRIPTS = "scripts"
    ROUTES = "routes"
    KV_NAMESPACES = "kv_namespaces"
    QUEUES = "queues"
    D1_DATABASES = "d1_databases"
    #: Values, and KEY_BYTES more for each key.
    KV_BYTES = "kv_bytes"
    #: Bodies of messages that are stored.
    QUEUE_BYTES = "queue_bytes"
    #: The databases' files.
    D1_BYTES = "d1_bytes"


#: What a key costs besides its value: a name of up to 512 bytes, metadata, and its place in the tree.
KEY_BYTES: Final = 256
MOST: Final = (1 << 63) - 1

#: Of Cloudflare's figures for an account where it has one that a tenant might need.
DEFAULTS: Final[Mapping[Quota, int | None]] = MappingProxyType(
    {
        Quota.SCRIPTS: 500,
        Quota.ROUTES: 1_000,
        Quota.KV_NAMESPACES: 100,
        Quota.QUEUES: 100,
        Quota.D1_DATABASES: 100,
        Quota.KV_BYTES: 10 << 30,
        Quota.QUEUE_BYTES: 25_000_000_000,
        Quota.D1_BYTES: 50 << 30,
    }
)


class SetBy(StrEnum):
    DEFAULT = "default"
    HOST = "host"
    TENANT = "tenant"


@dataclass(frozen=True, slots=True)
class Limit:
    """`value` None: there is none."""

    value: int | None
    set_by: SetBy


_WHO: Final = {
    SetBy.DEFAULT: "the default of this release",
    SetBy.HOST: "the host's --tenant-quotas",
    SetBy.TENANT: "set for this tenant",
}


def effective(rows: Sequence[Row]) -> dict[Quota, Limit]:
    """Of the rows of query `quotas`: (of the tenant itself, name, value), the host's first."""
    limits = {quota: Limit(value, SetBy.DEFAULT) for quota, value in DEFAULTS.items()}
    for own, name, value in rows:
        # A name that only a newer release knows limits nothing here.
        if name in limits:
            limits[Quota(name)] = Limit(value, SetBy.TENANT if own else SetBy.HOST)
    return limits


def parse_quotas(text: str) -> dict[Quota, int | None]:
    """`NAME=VALUE,…`, "" for none; a value is a whole number, with KiB, MiB or GiB where it is bytes, or `none`.

    Raises ValueError.
    """
    quotas: dict[Quota, int | None] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        name, equals, value = part.partition("=")
        if name not in list(Quota) or not equals:
            raise ValueError(f"{part!r} is no NAME=VALUE; names are {', '.join(Quota)}")
        quotas[Quota(name)] = parse_value(Quota(name), value)
    return quotas


_UNITS: Final = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def parse_value(quota: Quota, text: str) -> int | None:
    """Raises ValueError."""
    if text == "none":
        return None
    number, unit = text, 1
    if quota.endswith("_bytes") and text[-3:] in _UNITS:
        number, unit = text[:-3], _UNITS[text[-3:]]
    if not (number.isascii() and number.isdigit() and len(number) <= 19 and int(number) * unit <= MOST):
        raise ValueError(f"{quota}={text[:40]}: a whole number or `none` is right")
    return int(number) * unit


def refusal(owner: Owner, quota: Quota, limit: Limit, used: int, more: int) -> str:
    """Which quota, its value, what is used, who set it, how to raise it."""
    return (
        f"{quota}: {owner} has {used} of {limit.value} ({_WHO[limit.set_by]}), and {more} more would be too much; it"
        f" can delete some, or the platform raises it: tenantry tenants quota {owner.namespace} {owner.tenant}"
        f" {quota}=VALUE"
    )
