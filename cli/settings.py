"""Every setting of `tenantry`, as a table. Flags, environment names and docs/settings.md come from it.

`python -m cli.settings > docs/settings.md` writes the page; a test holds the two equal. A flag wins over
the environment, which wins over the default. Nothing is read from a file, so that `ps` and the unit file
show what a host runs with; what is secret has no flag.
"""

from __future__ import annotations

import ipaddress
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge.door import DoorLimits
from model.hostname import InvalidHostname, parse_pattern
from model.isolation import IsolationGroups, parse_groups
from processes.confinement import MODES
from processes.listeners import ListenAddress, parse_listen_address
from runtime.capi import accelerator
from storage.object_bucket import REGION, BucketPlace, parse_bucket, parse_endpoint, parse_region
from storage.postgres.address import DatabaseAddress, parse_database_url
from storage.tenant_quotas import Quota, parse_quotas


@dataclass(frozen=True, slots=True)
class HookSetting:
    """A dispatch worker in trusted Python: routes lead to `name`, and `function` of `module` answers, with the
    workers of `namespace` to choose from.
    """

    name: str
    module: str
    function: str
    namespace: str

    @property
    def spec(self) -> str:
        return f"{self.module}:{self.function}"


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


@dataclass(frozen=True, slots=True)
class Setting:
    """One row. `default` is text that `parse` takes, or None: then the value is None unless it is given,
    or an error when `required`. `default_text` is what the page says instead, where the text says little.
    """

    name: str
    kind: str
    default: str | None
    unit: str
    help: str
    parse: Callable[[str], Any]
    required: bool = False
    default_text: str = ""
    #: Empty: derived from the name. The client's have no flag for what must not be seen in `ps`.
    flag_text: str | None = None

    @property
    def flag(self) -> str:
        return f"--{self.name.replace('_', '-')}" if self.flag_text is None else self.flag_text

    @property
    def env(self) -> str:
        return f"TENANTRY_{self.name.upper()}"


def parse_control_address(text: str) -> ListenAddress:
    """As parse_listen_address, on loopback: the API has no TLS of its own, and a token must not travel without."""
    address = parse_listen_address(text)
    if not address.is_loopback:
        raise ValueError(
            f"{text!r}: the control API listens on loopback only (127.0.0.1 or [::1]); "
            "put a TLS-terminating proxy or an SSH tunnel in front of it"
        )
    return address


def parse_resolver(text: str) -> ListenAddress:
    address = parse_listen_address(text)
    if address.port == 0:
        raise ValueError(f"{text!r}: a DNS server's port is 1 to 65535, by custom 53")
    return address


def parse_workers(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1024:
        raise ValueError(f"{text!r} is no number of worker processes from 1 to 1024")
    return int(text)


def parse_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 3600:
        raise ValueError(f"{text!r} is no number of seconds from 0 to 3600")
    return seconds


def parse_cidrs(text: str) -> tuple[str, ...]:
    """`CIDR,CIDR…`, "" for none."""
    cidrs = []
    for part in filter(None, map(str.strip, text.split(","))):
        try:
            cidrs.append(str(ipaddress.ip_network(part)))
        except ValueError as error:
            raise ValueError(f"{part!r} is no CIDR such as 10.0.0.0/8: {error}") from None
    return tuple(cidrs)


def parse_names(text: str) -> tuple[str, ...]:
    """`NAME,NAME…`, "" for none: hostnames without a port."""
    names = []
    for part in filter(None, map(str.strip, text.split(","))):
        try:
            names.append(parse_pattern(part))
        except InvalidHostname as error:
            raise ValueError(str(error)) from None
        if "*" in part:
            raise ValueError(f"{part!r}: a name, without wildcard")
    return tuple(names)


def parse_days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = -1.0
    if not 0 < days <= 36_500:
        raise ValueError(f"{text!r} is no number of days above 0, up to 36500")
    return days


def parse_mebibytes(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) < 1:
        raise ValueError(f"{text!r} is no number of MiB, 1 or more")
    return int(text)


_HOOK = re.compile(r"([a-z0-9_-]{1,63})=([A-Za-z_][\w.]*):([A-Za-z_]\w*)@([a-z0-9_][a-z0-9_-]{0,62})")


def parse_hooks(text: str) -> tuple[HookSetting, ...]:
    """`NAME=MODULE:FUNCTION@NAMESPACE,…`, "" for none."""
    hooks = []
    for part in filter(None, map(str.strip, text.split(","))):
        match = _HOOK.fullmatch(part)
        if match is None:
            raise ValueError(
                f"{part!r} is no NAME=MODULE:FUNCTION@NAMESPACE, such as front=mysaas.front:dispatch@production"
            )
        hooks.append(HookSetting(*match.groups()))
    if len({hook.name for hook in hooks}) < len(hooks):
        raise ValueError("two hooks have the same name")
    return tuple(hooks)


def parse_rate(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1_000_000:
        raise ValueError(f"{text!r} is no number of bytes a second from 1 to 1000000")
    return int(text)


def parse_yes(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ValueError(f"{text!r} is neither yes nor no")
    return text == "yes"


LOG_LEVELS = ("debug", "info", "warning", "error")


def parse_log_level(text: str) -> str:
    if text.lower() not in LOG_LEVELS:
        raise ValueError(f"{text!r} is none of {', '.join(LOG_LEVELS)}")
    return text.lower()


def parse_confinement(text: str) -> str:
    if text not in MODES:
        raise ValueError(f"{text!r} is none of {', '.join(MODES)}")
    return text


def parse_accelerator(text: str) -> str:
    if text not in accelerator.MODES:
        raise ValueError(f"{text!r} is none of {', '.join(accelerator.MODES)}")
    return text


def parse_path(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError("an empty path")
    return Path(text).absolute()


def one_a_core() -> int:
    """How many processors this process may run on (affinity and cpusets counted, CPU quotas not)."""
    return max(1, len(os.sched_getaffinity(0)))


SERVE: tuple[Setting, ...] = (
    Setting(
        "data",
        "path",
        None,
        "",
        "Folder of everything the host keeps: databases, modules, keys. Made, with mode 0700, when missing.",
        parse_path,
        required=True,
    ),
    Setting(
        "http",
        "address",
        "127.0.0.1:8787",
        "host:port",
        "Where visitors' requests arrive. Port 0 takes a free one.",
        parse_listen_address,
    ),
    Setting(
        "control",
        "address",
        "127.0.0.1:8788",
        "host:port",
        "Where the API listens. Loopback only.",
        parse_control_address,
    ),
    Setting(
        "workers",
        "integer",
        None,
        "processes",
        "Worker processes, which run the tenants' code.",
        parse_workers,
        default_text="one a core",
    ),
    Setting(
        "resolver",
        "address",
        None,
        "host:port",
        "DNS server that resolves the hosts workers fetch from.",
        parse_resolver,
        default_text="those of /etc/resolv.conf",
    ),
    Setting(
        "root_key_file",
        "path",
        None,
        "",
        "File of the root key, from which all others are derived; made, with mode 0600, when missing. "
        "Keep it out of backups of the data folder: it opens every tenant's secrets.",
        parse_path,
        default_text="DATA/root-key",
    ),
    Setting(
        "log_level",
        "word",
        "info",
        "",
        "Least severe line of the host's own log that is written to stderr: debug, info, warning, error.",
        parse_log_level,
    ),
    Setting(
        "drain_s",
        "number",
        "30",
        "seconds",
        "How long running events may go on after SIGTERM before they are ended.",
        parse_seconds,
    ),
    Setting(
        "trusted_proxies",
        "CIDRs",
        "",
        "",
        "Comma-separated networks of proxies whose X-Forwarded-For and X-Forwarded-Proto are believed; "
        "from anyone else they are removed.",
        parse_cidrs,
        default_text="none",
    ),
    Setting(
        "control_names",
        "names",
        "",
        "",
        "Comma-separated hostnames that the API answers to besides its own address, when a proxy or a tunnel "
        "stands in front of it; requests for any other Host are refused.",
        parse_names,
        default_text="none",
    ),
    Setting(
        "hooks",
        "list",
        "",
        "",
        "Comma-separated NAME=MODULE:FUNCTION@NAMESPACE: dispatch workers in trusted Python, to which routes "
        'may lead (`{"target": {"hook": NAME}}`), and outbound workers (see outbound-workers.md).',
        parse_hooks,
        default_text="none",
    ),
    Setting(
        "audit_days",
        "number",
        "30",
        "days",
        "How long audit records of egress are kept, if there is room for them.",
        parse_days,
    ),
    Setting(
        "audit_mb",
        "integer",
        "1024",
        "MiB",
        "Room for audit records of egress; the oldest go first.",
        parse_mebibytes,
    ),
    Setting(
        "analytics_days",
        "number",
        "90",
        "days",
        "How long data points of workers are kept, if there is room for them.",
        parse_days,
    ),
    Setting(
        "analytics_mb",
        "integer",
        "1024",
        "MiB",
        "Room for data points of workers; the oldest of who has the most go first.",
        parse_mebibytes,
    ),
    Setting(
        "tenant_quotas",
        "list",
        "",
        "",
        "Comma-separated NAME=VALUE: how much a tenant may have that has no quotas of its own, such as "
        "`kv_bytes=1GiB,scripts=50`; `none` for as much as there is room for. See tenants.md.",
        parse_quotas,
        default_text="those of tenants.md",
    ),
    Setting(
        "isolation_groups",
        "list",
        "",
        "",
        "Comma-separated NAME:namespace=NS&tag=TAG&workers=N: scripts of these dispatch namespaces (`-`: plain "
        "ones) and with these tags run in N worker processes of their own, one by default: see isolation-groups.md.",
        parse_groups,
        default_text="none",
    ),
    Setting(
        "confinement",
        "word",
        "on",
        "",
        "What processes give up once they have started (files, system calls, capabilities): on, as much as the "
        "kernel allows; require, all of it, or the host does not start; off, nothing.",
        parse_confinement,
    ),
    Setting(
        "accelerator",
        "word",
        "auto",
        "",
        "Whether guests take the short way through compiled C: auto, when it was built; on, or the host does not "
        "start; off, never: ctypes says the same to the same library, for about a quarter more CPU a request.",
        parse_accelerator,
    ),
    Setting(
        "min_rate",
        "integer",
        str(DoorLimits().min_rate),
        "bytes/s",
        "Least rate at which a visitor takes a response that waits for it, and sends a body that is waited for, "
        f"as the mean of {DoorLimits().rate_window_s:g} s; a slower one is ended.",
        parse_rate,
    ),
    Setting(
        "new_root_key",
        "flag",
        "no",
        "",
        "Make a new root key although the data folder was written under another one, which is lost: the secrets "
        "in it stay closed until each is set anew. Once; leave it out again afterwards.",
        parse_yes,
    ),
    Setting(
        "database",
        "URL",
        None,
        "",
        "postgresql://USER@HOST[:PORT]/DATABASE[?sslmode=…&sslrootcert=…&pgbouncer=true]: KV and queues are kept "
        "there, and all machines that name it are one platform: see postgresql.md and many-machines.md. No password "
        "in it.",
        parse_database_url,
        default_text="SQLite files in the data folder",
    ),
    Setting(
        "database_password_file",
        "path",
        None,
        "",
        "File with the password of the database's user, readable by the host's user alone.",
        parse_path,
    ),
    Setting(
        "database_password",
        "text",
        None,
        "",
        "The password itself, where a file is not to be had; it has no flag, since a command line is everyone's to "
        "read.",
        str,
        flag_text="",
    ),
    Setting(
        "objects",
        "URL",
        None,
        "",
        "s3://BUCKET[/PREFIX]: module bytes are kept in this S3-compatible bucket, and the data folder has those that "
        "it used: see object-storage.md. No key in it.",
        parse_bucket,
        default_text="the data folder, or the database",
    ),
    Setting(
        "objects_endpoint",
        "URL",
        None,
        "",
        "https://HOST[:PORT] of the bucket's server.",
        parse_endpoint,
        default_text="Amazon's of the region",
    ),
    Setting("objects_region", "word", REGION, "", "The bucket's region.", parse_region),
    Setting(
        "objects_key_file",
        "path",
        None,
        "",
        "File with the id and the secret of the bucket's access key, one line each, readable by the host's user alone.",
        parse_path,
    ),
    Setting(
        "objects_key",
        "text",
        None,
        "",
        "ID:SECRET themselves, where a file is not to be had; no flag, as with the database's password.",
        str,
        flag_text="",
    ),
)

#: Of every client command. A token has no flag: the command line of a process is everyone's to read.
CLIENT: tuple[Setting, ...] = (
    Setting("url", "URL", "http://127.0.0.1:8788", "", "Where the control API is.", str),
    Setting("account", "word", "default", "", "The account id to act in.", str),
    Setting("token", "text", None, "", "The API token.", str, flag_text=""),
    Setting(
        "data",
        "path",
        None,
        "",
        "The host's data folder, for whoever may read it: the token is taken from DATA/admin-token. The "
        "flag wins over TENANTRY_TOKEN, which wins over TENANTRY_DATA.",
        parse_path,
    ),
)


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


def _table(rows: tuple[Setting, ...]) -> list[str]:
    lines = ["| flag | environment | type | unit | default | meaning |", "|---|---|---|---|---|---|"]
    for row in rows:
        default = (
            "required" if row.required else row.default_text or (f"`{row.default}`" if row.default else "")
        )
        flag = f"`{row.flag}`" if row.flag else ""
        lines.append(f"| {flag} | `{row.env}` | {row.kind} | {row.unit} | {default} | {row.help} |")
    return lines


def page() -> str:
    """docs/settings.md."""
    return "\n".join(
        [
            "# Settings",
            "",
            "Made by `python -m cli.settings` from the table in `cli/settings.py`; change it there.",
            "",
            "A flag wins over the environment, the environment over the default. An empty environment",
            "variable counts as unset. Limits of a worker are no settings of the host: see limits.md.",
            "",
            "## `tenantry serve`",
            "",
            *_table(SERVE),
            "",
            "## Every client command",
            "",
            *_table(CLIENT),
            "",
        ]
    )


if __name__ == "__main__":
    sys.stdout.write(page())
