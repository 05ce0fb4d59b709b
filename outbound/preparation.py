"""What a rule does to a request before it leaves: headers, secrets, TLS settings, the proxy to go through."""

from __future__ import annotations

from dataclasses import dataclass, replace

from model.identity import NamespaceName
from model.messages import Header
from outbound.door import Door, Trip
from outbound.egress_proxy import ProxyFailed, ProxyHop, ready_proxy
from outbound.header_plan import inject, plan_headers
from outbound.reasons import Reason
from outbound.refusal import Refused
from outbound.rule_actions import MaterialMissing, Plan
from outbound.secret_injection import SecretUnusable
from outbound.target import Target
from outbound.tls_contexts import TlsContext, TlsUnusable


@dataclass(slots=True)
class Prepared:
    headers: list[Header]
    tls: TlsContext
    proxy: ProxyHop | None


async def prepare(
    door: Door, trip: Trip, plan: Plan, target: Target, headers: list[Header], namespace: NamespaceName | None
) -> Prepared:
    """Raises Refused. What it injects, `trip` keeps from the worker from then on. Once a redirect led to another
    origin, neither secrets nor a client certificate are shown: whoever redirects must not choose to whom.
    """
    headers, secrets = plan_headers(plan, target, headers, crossed=trip.way.crossed)
    for injection in secrets:
        try:
            value = await door.materials.secret(namespace, injection.secret)
            headers = inject(headers, injection, value)
        except (MaterialMissing, SecretUnusable) as error:
            raise Refused(Reason.SECRET_MISSING, str(error)) from error
        trip.keep_from_worker(value)
    settings = replace(plan.tls, client_certificate=None) if trip.way.crossed else plan.tls
    try:
        tls = await door.connector.tls.get(settings, door.materials, namespace)
    except (MaterialMissing, TlsUnusable) as error:
        raise Refused(Reason.TLS_MATERIAL_MISSING, str(error)) from error
    proxy = None
    if plan.proxy is not None:
        try:
            proxy = await ready_proxy(plan.proxy, door.resolver, door.materials, namespace)
            for secret in proxy.credentials:  # a proxy may send them on, and an upstream may echo them
                trip.keep_from_worker(secret)
        except MaterialMissing as error:
            raise Refused(Reason.SECRET_MISSING, str(error)) from error
        except ProxyFailed as error:
            raise Refused(Reason.PROXY_FAILED, str(error)) from error
    return Prepared(headers, tls, proxy)
