"""What is stored about a script, as control writes it and the data plane reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from model.identity import AccountId, NamespaceName, ScriptName, TenantId, VersionId


class BindingKind(StrEnum):
    """The `type` of a binding in upload metadata (Cloudflare's words)."""

    PLAIN_TEXT = "plain_text"
    JSON = "json"
    SECRET_TEXT = "secret_text"  # noqa: S105 - the name of a kind, not a secret
    KV_NAMESPACE = "kv_namespace"
    QUEUE = "queue"
    D1 = "d1"
    RATE_LIMIT = "ratelimit"
    CACHE = "cache"
    ANALYTICS_ENGINE = "analytics_engine"
    SERVICE = "service"
    DISPATCH_NAMESPACE = "dispatch_namespace"


@dataclass(frozen=True, slots=True, order=True)
class ScriptRef:
    """Which script: in a dispatch namespace, or plain (`namespace` None)."""

    namespace: NamespaceName | None
    script: ScriptName

    def __str__(self) -> str:
        return f"{self.namespace}/{self.script}" if self.namespace else self.script


@dataclass(frozen=True, slots=True)
class OutboundWorker:
    """Who is asked before a request of a user worker leaves: exactly one of a script and a hook (its name).
    `params` are the names that a dispatcher may pass to it; None: any.
    """

    script: ScriptRef | None = None
    hook: str | None = None
    params: tuple[str, ...] | None = None

    def __str__(self) -> str:
        return f"hook {self.hook}" if self.script is None else str(self.script)


@dataclass(frozen=True, slots=True)
class OutboundStep:
    """What an outbound worker had to do with a request that leaves: it let it go on, or made it itself."""

    #: The outbound worker's, or that of a worker that it called: a script with its namespace, or `hook` and a name.
    worker: str
    how: Literal["continue", "fetch"]


@dataclass(frozen=True, slots=True)
class BindingSpec:
    """One binding of a script version. `target` by kind: plain_text and json: the text; secret_text: "";
    kv_namespace: the namespace's id; queue: the queue's id; d1: the database's id; ratelimit: as
    model.rates.encode_rate_limit; cache: its name; analytics_engine: the dataset's name; service: the script's name
    (looked up in the same dispatch namespace first, then among plain scripts); dispatch_namespace: its name.
    """

    kind: BindingKind
    name: str
    target: str
    #: Of a dispatch_namespace: who stands before the way out of the workers that are called through it.
    outbound: OutboundWorker | None = None
    #: Of a queue: seconds of messages that name no delay of their own; None: the queue's.
    delivery_delay_s: int | None = None
    #: Of a service: an export of the worker; None: the default one.
    entrypoint: str | None = None
    #: Of a service: JSON of an object that the other end is told, as `ctx.props`.
    props: str | None = None


@dataclass(frozen=True, slots=True)
class ScriptVersion:
    """The deployed version of one script: all that is needed to run it."""

    account: AccountId
    ref: ScriptRef
    tenant: TenantId
    version: VersionId
    #: sha256 of the module bytes, hex: the key in the object store and the AOT cache.
    module_digest: str
    #: "fetch", "queue", "scheduled", "tail": the handlers that the module exports.
    handlers: frozenset[str]
    bindings: tuple[BindingSpec, ...] = ()
    tags: tuple[str, ...] = ()
    #: Names of model.limits.Limits fields → values, set by the platform at upload.
    limits: Mapping[str, int] = field(default_factory=dict)
    #: The dispatch namespace is trusted: its workers get real clocks.
    trusted: bool = False
    created_at_s: float = 0.0
    modified_at_s: float = 0.0
    #: As its dispatch namespace says now; like `trusted`, not of the version itself.
    outbound_worker: OutboundWorker | None = None
    #: Of a worker in JavaScript: what a service binding may name, `default` where that is a class. None: it is none.
    entrypoints: tuple[str, ...] | None = None
    #: Names of scripts that are told what became of its events, looked up as a service is.
    tail_consumers: tuple[str, ...] = ()
    #: As they were sent, for who asks what is deployed: "" is none.
    compatibility_date: str = ""
    compatibility_flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """Where a route leads: exactly one of a script and a hook."""

    script: ScriptRef | None = None
    hook: str | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """`pattern` is a hostname, `*.` and a hostname, or `*`. `path_prefix` "" matches every path.
    `headers` are (lower-case name, exact value) pairs, sorted.
    """

    id: str
    pattern: str
    path_prefix: str
    headers: tuple[tuple[str, str], ...]
    target: Target


@dataclass(frozen=True, slots=True)
class HostnameRoutes:
    """All that routing needs to know of one hostname pattern; what a RouteStore answers."""

    routes: tuple[Route, ...] = ()
    header_routes: bool = False
