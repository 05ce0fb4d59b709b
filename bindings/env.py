"""What one script version is lent: its BindingSpecs made into capabilities, once a version and process."""

from __future__ import annotations

from bindings.analytics import PointSink, ScriptDataset
from bindings.cache import CacheStorage, StoredHttpCache
from bindings.d1 import StoredSqlDatabase
from bindings.dispatch_namespace import StoredDispatcher
from bindings.kv import StoredKvNamespace
from bindings.queues import QueueSender, StoredQueueProducer
from bindings.rate_limit import SharedRateLimiter
from bindings.secret_store import NamedSecret, SealedSecrets
from bindings.service import Lookup, NamedService
from model.capabilities import Binding, Fetcher, WorkerEnv, WorkerRunner
from model.identity import NamespaceName, ScriptName
from model.messages import Entry
from model.rates import decode_rate_limit
from model.scripts import BindingKind, ScriptVersion
from storage.cache_store import owner_of
from storage.d1.store import D1Store
from storage.kv_protocol import KvStorage
from storage.shared_rates import SharedRates


def build_env(
    version: ScriptVersion,
    *,
    kv: KvStorage,
    queues: QueueSender,
    d1: D1Store,
    rates: SharedRates,
    cache: CacheStorage,
    points: PointSink,
    secrets: SealedSecrets,
    runner: WorkerRunner,
    fetcher: Fetcher | None,
    lookup: Lookup,
) -> WorkerEnv:
    """Reads nothing: what a binding names is looked up when it is used. `fetcher` None: no way out.

    Text bindings (plain_text, and json as its text) are `vars`; the others are bindings by their name.
    Who may bind what was decided at upload.
    """
    variables: dict[str, str] = {}
    bindings: dict[str, Binding] = {}
    for spec in version.bindings:
        value: object
        match spec.kind:
            case BindingKind.PLAIN_TEXT | BindingKind.JSON:
                variables[spec.name] = spec.target
                continue
            case BindingKind.SECRET_TEXT:
                value = NamedSecret(secrets, version.account, version.ref, spec.name)
            case BindingKind.KV_NAMESPACE:
                value = StoredKvNamespace(kv, spec.target)
            case BindingKind.QUEUE:
                value = StoredQueueProducer(queues, spec.target, spec.delivery_delay_s)
            case BindingKind.D1:
                value = StoredSqlDatabase(d1, spec.target)
            case BindingKind.CACHE:
                owner = owner_of(version.ref.namespace or "", version.tenant)
                value = StoredHttpCache(cache, owner, spec.target, version.created_at_s)
            case BindingKind.ANALYTICS_ENGINE:
                value = ScriptDataset(points, version.ref, version.tenant, spec.target)
            case BindingKind.RATE_LIMIT:
                value = SharedRateLimiter(
                    rates, version.ref.namespace, version.tenant, decode_rate_limit(spec.target)
                )
            case BindingKind.SERVICE:
                named = spec.entrypoint is not None or spec.props is not None
                value = NamedService(
                    runner,
                    lookup,
                    version.account,
                    version.ref.namespace,
                    ScriptName(spec.target),
                    Entry(spec.entrypoint, spec.props) if named else None,
                )
            case BindingKind.DISPATCH_NAMESPACE:
                value = StoredDispatcher(
                    runner, lookup, version.account, NamespaceName(spec.target), spec.outbound
                )
        bindings[spec.name] = Binding(spec.kind, value)
    return WorkerEnv(vars=variables, bindings=bindings, fetcher=fetcher)
