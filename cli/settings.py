"""Every setting of `tenantry`, as a table. Flags, environment names and docs/settings.md come from it.

`python -m cli.settings > docs/settings.md` writes the page; a test holds the two equal. A flag wins over
the environment, which wins over the default. Nothing is read from a file, so that `ps` and the unit file
show what a host runs with; what is secret has no flag.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cli.setting_values import (
    parse_accelerator,
    parse_cidrs,
    parse_confinement,
    parse_control_address,
    parse_days,
    parse_hooks,
    parse_log_level,
    parse_mebibytes,
    parse_names,
    parse_path,
    parse_rate,
    parse_resolver,
    parse_seconds,
    parse_workers,
    parse_yes,
)
from edge.door import DoorLimits
from model.isolation import parse_groups
from processes.listeners import parse_listen_address
from storage.object_bucket import REGION, parse_bucket, parse_endpoint, parse_region
from storage.postgres.address import parse_database_url
from storage.tenant_quotas import parse_quotas


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
