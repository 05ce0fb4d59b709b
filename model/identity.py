"""Names of accounts, namespaces, tenants, scripts: parsed once, then typed."""

from __future__ import annotations

import re
import secrets
from typing import Final, NewType

AccountId = NewType("AccountId", str)
NamespaceName = NewType("NamespaceName", str)
TenantId = NewType("TenantId", str)
ScriptName = NewType("ScriptName", str)
VersionId = NewType("VersionId", str)
RayId = NewType("RayId", str)

DEFAULT_ACCOUNT = AccountId("default")

# Cloudflare's own rule for script names: what a hostname label and a file name can both carry.
_SCRIPT = re.compile(r"[a-z0-9_][a-z0-9_-]{0,62}")
_TENANT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,127}")
# A JavaScript identifier in Workers, since it becomes `env.NAME`.
_BINDING = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]{0,127}")
_ACCOUNT = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MATERIAL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_TAG = re.compile(r"[^,&\x00-\x1f]{1,128}")


class InvalidName(ValueError):
    """A name breaks its rule; the message says which name, and what would be right."""


def parse_account_id(text: str) -> AccountId:
    if not _ACCOUNT.fullmatch(text):
        raise InvalidName(f"account id {text[:80]!r}: 1 to 64 letters, digits, '_' or '-'")
    return AccountId(text)


def parse_namespace_name(text: str) -> NamespaceName:
    if not _SCRIPT.fullmatch(text):
        raise InvalidName(f"namespace name {text[:80]!r}: 1 to 63 of a-z, 0-9, '_' and '-', no '-' first")
    return NamespaceName(text)


def parse_script_name(text: str) -> ScriptName:
    if not _SCRIPT.fullmatch(text):
        raise InvalidName(f"script name {text[:80]!r}: 1 to 63 of a-z, 0-9, '_' and '-', no '-' first")
    return ScriptName(text)


def parse_tenant_id(text: str) -> TenantId:
    if not _TENANT.fullmatch(text):
        raise InvalidName(f"tenant id {text[:80]!r}: 1 to 128 letters, digits, '_', '.', '@' or '-'")
    return TenantId(text)


def parse_binding_name(text: str) -> str:
    if not _BINDING.fullmatch(text):
        raise InvalidName(f"binding name {text[:80]!r}: an identifier: letters, digits, '_', no digit first")
    return text


def parse_material_name(text: str) -> str:
    """Of a secret, CA bundle or client certificate that egress policies name."""
    if not _MATERIAL.fullmatch(text):
        raise InvalidName(f"material name {text[:80]!r}: 1 to 64 letters, digits, '_', '.' or '-'")
    return text


def parse_cache_name(text: str) -> str:
    if not _MATERIAL.fullmatch(text):
        raise InvalidName(f"cache name {text[:80]!r}: 1 to 64 letters, digits, '_', '.' or '-'")
    return text


def parse_tag(text: str) -> str:
    if not _TAG.fullmatch(text):
        raise InvalidName(f"tag {text[:80]!r}: 1 to 128 characters without ',' and '&'")
    return text


def new_ray_id() -> RayId:
    """16 hex digits, as Cloudflare's: unique enough to find one request in a day of logs. No secret."""
    try:
        return _ray_ids.pop()
    except IndexError:
        digits = secrets.token_hex(8 * _RAYS_AT_ONCE)
        _ray_ids.extend(RayId(digits[at : at + 16]) for at in range(0, len(digits), 16))
        return _ray_ids.pop()


#: Asking the kernel for each would cost a microsecond. A process that is forked must not use what is left here.
_RAYS_AT_ONCE: Final = 64
_ray_ids: list[RayId] = []
