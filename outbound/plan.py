"""What is done to a request that several layers' rules allow: their actions, joined. Pure.

The broadest comes first. Of headers the later rule's word holds; every rate limit holds; of TLS versions the
highest; of everything else what the narrowest rule says that says anything.
"""

from __future__ import annotations

from collections.abc import Sequence

from outbound.rule_actions import (
    NO_ACTIONS,
    NO_PLAN,
    NamedRateLimit,
    Plan,
    Proxy,
    Retries,
    RuleActions,
    SecretInjection,
    TlsSettings,
)


def plan_of(actions: Sequence[tuple[str, RuleActions]]) -> Plan:
    """`actions` by name of layer and rule, the broadest layer first."""
    if all(each is NO_ACTIONS for _, each in actions):
        return NO_PLAN
    headers: dict[str, str | SecretInjection] = {}
    removed: dict[str, None] = {}
    rates: list[NamedRateLimit] = []
    retries: Retries | None = None
    proxy: Proxy | None = None
    follow: int | None = None
    tls = TlsSettings()
    for name, each in actions:
        for header in each.remove_headers:
            headers.pop(header, None)
            removed[header] = None
        headers |= dict(each.set_headers)
        headers |= {secret.header: secret for secret in each.secrets}
        if each.rate_limit is not None:
            rates.append(NamedRateLimit(name, each.rate_limit))
        retries = retries if each.retries is None else each.retries
        proxy = proxy if each.proxy is None else each.proxy
        follow = follow if each.follow_redirects is None else each.follow_redirects
        tls = TlsSettings(
            max(tls.minimum_version, each.tls.minimum_version),
            each.tls.ca_bundle or tls.ca_bundle,
            each.tls.client_certificate or tls.client_certificate,
        )
    return Plan(
        set_headers=tuple((header, value) for header, value in headers.items() if isinstance(value, str)),
        remove_headers=tuple(header for header in removed if header not in headers),
        secrets=tuple(value for value in headers.values() if isinstance(value, SecretInjection)),
        rate_limits=tuple(rates),
        retries=retries if retries is not None else Retries(),
        tls=tls,
        proxy=proxy,
        follow_redirects=follow or 0,
    )
