"""What `tenantry serve` was told by flags and environment, as one value that was checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli.setting_values import HookSetting, one_a_core
from cli.settings import SERVE
from model.isolation import IsolationGroups
from processes.listeners import ListenAddress
from storage.object_bucket import BucketPlace
from storage.postgres.address import DatabaseAddress
from storage.tenant_quotas import Quota


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """What `tenantry serve` was told, parsed and checked."""

    data: Path
    http: ListenAddress
    control: ListenAddress
    #: At least 1.
    workers: int
    #: None: the servers of /etc/resolv.conf.
    resolver: ListenAddress | None
    #: None: `data / "root-key"`.
    root_key_file: Path | None
    #: "debug", "info", "warning" or "error".
    log_level: str
    drain_s: float
    #: CIDRs of proxies whose forwarding headers are believed.
    trusted_proxies: tuple[str, ...]
    #: Names that the API answers to besides its address, for a proxy in front of it.
    control_names: tuple[str, ...]
    hooks: tuple[HookSetting, ...]
    #: How long, and with how many MiB, audit records of egress are kept.
    audit_days: float
    audit_mb: int
    #: The same of data points that workers write.
    analytics_days: float
    analytics_mb: int
    #: What a tenant may have that has no quotas of its own, where it is not the default.
    tenant_quotas: Mapping[Quota, int | None]
    isolation_groups: IsolationGroups
    #: One of processes.confinement.MODES.
    confinement: str
    #: One of runtime.capi.accelerator.MODES.
    accelerator: str
    #: Bytes a second, at least, that a visitor takes of a response or sends of a body that waits for it.
    min_rate: int
    #: Make a root key though the data folder was written under another one.
    new_root_key: bool
    #: None: SQLite files of the data folder. Without the password, which is one of the two below.
    database: DatabaseAddress | None
    database_password_file: Path | None
    database_password: str | None = field(repr=False)
    #: Bucket and prefix; None: module bytes are in the data folder, or in `database`.
    objects: tuple[str, str] | None
    #: None: Amazon's.
    objects_endpoint: str | None
    objects_region: str
    objects_key_file: Path | None
    objects_key: str | None = field(repr=False)

    @property
    def bucket(self) -> BucketPlace | None:
        """Without its key, which is one of the last two."""
        if self.objects is None:
            return None
        bucket, prefix = self.objects
        return BucketPlace(bucket, prefix, self.objects_endpoint or "", self.objects_region)


def serve_settings(given: Mapping[str, str | None], environment: Mapping[str, str]) -> ServeSettings:
    """What flags (`given`, by setting name) and environment say, as one value.

    Raises ValueError; the message begins with the flag or the environment name that holds the bad value.
    """
    values: dict[str, Any] = {}
    for row in SERVE:
        text, source = given.get(row.name), row.flag
        if text is None:
            # An empty variable is an unset one, as in most unit files and compose files.
            text, source = environment.get(row.env) or None, row.env
        if text is None:
            text, source = row.default, row.flag
        if text is None and row.required:
            raise ValueError(f"{row.flag} (or {row.env}) is missing: {row.help}")
        try:
            values[row.name] = None if text is None else row.parse(text)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from None
    if values["workers"] is None:
        values["workers"] = one_a_core()
    settings = ServeSettings(**values)
    if settings.http == settings.control and settings.http.port:
        raise ValueError(f"--http and --control are both {settings.http}; each needs a port of its own")
    if settings.database_password and settings.database_password_file:
        raise ValueError(
            "--database-password-file and TENANTRY_DATABASE_PASSWORD are both given; one is right"
        )
    if settings.objects_key and settings.objects_key_file:
        raise ValueError("--objects-key-file and TENANTRY_OBJECTS_KEY are both given; one is right")
    return settings
