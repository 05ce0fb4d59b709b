"""How the text of a setting is read: each raises ValueError with what would be right. Pure but for `one_a_core`."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path

from model.hostname import InvalidHostname, parse_pattern
from processes.confinement import MODES
from processes.listeners import ListenAddress, parse_listen_address
from runtime.capi import accelerator


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
