"""What a rule that allows a request does to it on its way: plain values, compiled with the policy.

Names of secrets, certificates and proxies are names only: `Materials` turns them into what they stand for,
at the moment of use, so that a policy document never holds a secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from model.identity import NamespaceName


class RateScope(StrEnum):
    """Whose requests are counted together."""

    #: All requests of a tenant under this rule.
    TENANT = "tenant"
    #: All requests to a host under this rule, whoever sends them.
    DESTINATION = "destination"
    #: Those of one tenant to one host.
    TENANT_AND_DESTINATION = "tenant_and_destination"


@dataclass(frozen=True, slots=True)
class SecretInjection:
    """A header whose value holds a secret of the platform's: `template` with `{secret}` replaced."""

    #: Lower case.
    header: str
    secret: str
    template: str = "{secret}"
    #: Only over TLS unless the operator says otherwise.
    allow_plaintext: bool = False


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A key that has rested may send all of them at once; they come back evenly over the period."""

    #: Inclusive.
    requests: int
    period_s: int
    per: RateScope = RateScope.TENANT


@dataclass(frozen=True, slots=True)
class Retries:
    """Of idempotent methods without a body or with a small one, on faults before an answer and on `statuses`."""

    #: Beside the first; 0 is none.
    attempts: int = 0
    backoff_ms: int = 100
    statuses: frozenset[int] = frozenset((502, 503, 504))


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Part of a pooled connection's key."""

    #: "1.2" or "1.3".
    minimum_version: str = "1.2"
    #: Names of materials; None: the system's trust store, and no client certificate.
    ca_bundle: str | None = None
    client_certificate: str | None = None


@dataclass(frozen=True, slots=True)
class Proxy:
    """An egress proxy. The CONNECT target (or the request's address) is the pinned address, never the name."""

    #: http or https.
    scheme: str
    host: str
    port: int
    #: Name of a secret of the form `user:password`, or None.
    credentials: str | None = None


@dataclass(frozen=True, slots=True)
class RuleActions:
    """As one rule says them. None is "this rule says nothing of it": a broader layer's rule may."""

    #: Lower-case names; set replaces every one of that name that the worker sent.
    set_headers: tuple[tuple[str, str], ...] = ()
    remove_headers: tuple[str, ...] = ()
    secrets: tuple[SecretInjection, ...] = ()
    rate_limit: RateLimit | None = None
    retries: Retries | None = None
    tls: TlsSettings = TlsSettings()
    proxy: Proxy | None = None
    #: How many redirects the gateway follows itself, each a new decision; 0 hands them to the worker.
    follow_redirects: int | None = None


#: A rule that lets a request go as it is.
NO_ACTIONS: Final = RuleActions()


@dataclass(frozen=True, slots=True)
class NamedRateLimit:
    """`name` says whose it is, `layer/rule`; those of one name share one count."""

    name: str
    limit: RateLimit


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done to one request that was allowed: the actions of each layer's rule, joined.

    In this order: `remove_headers` from what the worker sent, `set_headers`, `secrets`.
    """

    #: Lower-case names, each once; set replaces every one of that name that the worker sent.
    set_headers: tuple[tuple[str, str], ...] = ()
    remove_headers: tuple[str, ...] = ()
    #: Each header once, none that `set_headers` has.
    secrets: tuple[SecretInjection, ...] = ()
    #: All of them hold.
    rate_limits: tuple[NamedRateLimit, ...] = ()
    retries: Retries = Retries()
    tls: TlsSettings = TlsSettings()
    proxy: Proxy | None = None
    follow_redirects: int = 0


NO_PLAN: Final = Plan()


@dataclass(frozen=True, slots=True)
class TenantQuotas:
    """Of each tenant by itself, in one process, under one policy; None is no bound of the policy's own."""

    requests_per_minute: int | None = None
    #: Up and down together.
    bytes_per_minute: int | None = None
    concurrent_requests: int | None = None


NO_QUOTAS: Final = TenantQuotas()


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    certificate_pem: bytes
    key_pem: bytes


class MaterialMissing(Exception):
    """There is no such material; the message names its kind and name, and says how to set it."""


class Materials(Protocol):
    """What policies name. Each raises MaterialMissing; values may be awaited at a first use, never listed."""

    async def secret(self, namespace: NamespaceName | None, name: str) -> str: ...

    async def ca_bundle(self, namespace: NamespaceName | None, name: str) -> bytes:
        """PEM."""

    async def client_certificate(self, namespace: NamespaceName | None, name: str) -> ClientCertificate: ...
