"""What is known of a request that wants to leave, and the names by which expressions ask for it. Pure.

Names are those of Cloudflare's rules language where it has one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from expressions.schema import INTEGER, STRING, Array, Map, Schema, Type
from outbound.target import DEFAULT_PORTS, Target

PLAN_TAG: Final = "plan:"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a decision is made of. `host`, `path`, `query` as in outbound.target.Target (`path` is its match_path)."""

    scheme: str
    host: str
    port: int
    #: Upper case.
    method: str
    path: str
    tenant: str = ""
    #: Of the script that asks.
    tags: Sequence[str] = ()
    #: What the dispatcher gave to this call.
    params: Mapping[str, str] = field(default_factory=dict)
    script: str = ""
    #: "" for the account's plain scripts.
    namespace: str = ""
    query: str = ""
    #: Of the worker's own, those that would leave (header_hygiene.outgoing_headers).
    headers: Sequence[tuple[bytes, bytes]] = ()


class Asker(Protocol):
    """Whose worker asks: an EventContext, or what stands for one."""

    @property
    def tenant(self) -> str: ...

    @property
    def script(self) -> str: ...

    @property
    def namespace(self) -> str | None: ...

    @property
    def tags(self) -> Sequence[str]: ...

    @property
    def outbound_params(self) -> Mapping[str, str]: ...


def facts_of(target: Target, method: str, headers: Sequence[tuple[bytes, bytes]], asker: Asker) -> Facts:
    """`headers` as outgoing_headers gives them: a rule must not be told of one that the upstream won't see."""
    return Facts(
        target.scheme,
        target.host,
        target.port,
        method,
        target.match_path,
        asker.tenant,
        asker.tags,
        asker.outbound_params,
        asker.script,
        asker.namespace or "",
        target.query,
        headers,
    )


def _uri(facts: Facts) -> str:
    return f"{facts.path}?{facts.query}" if facts.query else facts.path


def _full_uri(facts: Facts) -> str:
    host = f"[{facts.host}]" if ":" in facts.host else facts.host
    port = "" if DEFAULT_PORTS.get(facts.scheme) == facts.port else f":{facts.port}"
    return f"{facts.scheme}://{host}{port}{_uri(facts)}"


def _headers(facts: Facts) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in facts.headers:
        found.setdefault(name.lower().decode("latin-1"), []).append(value.decode("utf-8", "surrogateescape"))
    return found


def plan_of(facts: Facts) -> str | None:
    return next((tag[len(PLAN_TAG) :] for tag in facts.tags if tag.startswith(PLAN_TAG)), None)


#: name → type, how it is read, what it means (docs/policy.md has the same table).
FIELDS: Final[Mapping[str, tuple[Type, Callable[[Facts], object], str]]] = {
    "http.request.method": (STRING, lambda facts: facts.method, "in upper case"),
    "http.request.scheme": (STRING, lambda facts: facts.scheme, "`http` or `https`"),
    "http.host": (STRING, lambda facts: facts.host, "the URL's host, without port and brackets"),
    "http.request.port": (INTEGER, lambda facts: facts.port, "the URL's, or its scheme's"),
    "http.request.uri.path": (STRING, lambda facts: facts.path, "as `path` compares it"),
    "http.request.uri.query": (STRING, lambda facts: facts.query, "without `?`"),
    "http.request.uri": (STRING, _uri, "path and query"),
    "http.request.full_uri": (STRING, _full_uri, "scheme, host, port if it isn't the scheme's, path, query"),
    "http.request.headers": (
        Map(Array(STRING)),
        _headers,
        "those of the worker's that would leave, before the rule changes them; names in lower case",
    ),
    "tenant.id": (STRING, lambda facts: facts.tenant, "whose worker asks"),
    "tenant.tags": (Array(STRING), lambda facts: tuple(facts.tags), "the tags of the script that asks"),
    "tenant.plan": (STRING, plan_of, "`x` of the first tag `plan:x`; missing without one"),
    "script.name": (STRING, lambda facts: facts.script, "the script that asks"),
    "namespace.name": (STRING, lambda facts: facts.namespace, "its namespace; empty for plain scripts"),
    "params": (Map(STRING), lambda facts: facts.params, "what the dispatcher gave to this call"),
}

SCHEMA: Final = Schema({name: kind for name, (kind, _, _) in FIELDS.items()})


class ExpressionFacts(Mapping[str, object]):
    """Facts by name, each made when it is first asked for: most expressions ask for two or three."""

    __slots__ = ("_facts", "_made")

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._made: dict[str, object] = {}

    def __getitem__(self, name: str) -> object:
        made = self._made
        if name not in made:
            made[name] = FIELDS[name][1](self._facts)
        return made[name]

    def get(self, name: str, default: object = None) -> object:
        return self[name] if name in FIELDS else default

    def __contains__(self, name: object) -> bool:
        return name in FIELDS

    def __iter__(self) -> Iterator[str]:
        return iter(FIELDS)

    def __len__(self) -> int:
        return len(FIELDS)
