"""What `tenantry deploy` sends: pure. Cloudflare's upload metadata, and secrets from stdin's text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cli.errors import BadUsage

Pairs = Sequence[tuple[str, str]]

#: The part that the module travels in, and its name there.
MAIN_MODULE: Final = "main.wasm"


@dataclass(frozen=True, slots=True)
class Deployment:
    """One deploy command, parsed. Pairs are (binding's name, what it leads to), as given."""

    name: str
    namespace: str | None
    tenant: str | None = None
    tags: Sequence[str] = ()
    variables: Pairs = ()
    secrets: Mapping[str, str] | None = None
    kv: Pairs = ()
    queues: Pairs = ()
    d1: Pairs = ()
    #: name → SCRIPT, or SCRIPT#EXPORT.
    services: Pairs = ()
    #: Who is told what becomes of its events.
    tails: Sequence[str] = ()
    dispatch: Pairs = ()
    #: name → `LIMIT/SECONDS` or `LIMIT/SECONDS/ID`.
    rate_limits: Pairs = ()
    caches: Pairs = ()
    datasets: Pairs = ()
    limits: Pairs = ()
    #: Names of bindings that may lead to another tenant's.
    shared: Sequence[str] = ()
    #: Compatibility flags.
    flags: Sequence[str] = ()
    #: Path of a request, for JavaScript.
    warm_up: str | None = None

    @property
    def known_tenant(self) -> str | None:
        """Whose worker it will be, by --tenant or a tag `tenant:ID`; None: the host's to say (as before, and
        at first the worker's own name).
        """
        tagged = (tag.removeprefix("tenant:") for tag in self.tags if tag.startswith("tenant:"))
        return self.tenant or next(tagged, None)

    @property
    def owner(self) -> dict[str, str]:
        """Whose the resources are that are made on the way: the tenant's where one was named, else the
        account's, since a name alone can't say that nobody else is to use them.
        """
        if self.known_tenant is None or self.namespace is None:
            return {}
        return {"tenant": self.known_tenant, "namespace": self.namespace}


def check_names(deployment: Deployment) -> None:
    """Raises BadUsage when two bindings have one name, or a limit is unknown or no number."""
    names = [
        ("--var", deployment.variables),
        ("--secret", [(name, "") for name in deployment.secrets or {}]),
        ("--kv", deployment.kv),
        ("--d1", deployment.d1),
        ("--queue", deployment.queues),
        ("--service", deployment.services),
        ("--dispatch", deployment.dispatch),
        ("--rate-limit", deployment.rate_limits),
        ("--cache", deployment.caches),
        ("--analytics", deployment.datasets),
    ]
    seen: dict[str, str] = {}
    for flag, pairs in names:
        for name, target in pairs:
            if name in seen:
                raise BadUsage(f"{flag} {name}: {seen[name]} has that name already; each needs its own")
            if not target and flag not in ("--var", "--secret"):
                raise BadUsage(f"{flag} {name}= leads to nothing; right would be {flag} {name}=NAME")
            seen[name] = flag
    for name in deployment.shared:
        if seen.get(name) not in ("--kv", "--d1", "--queue", "--service"):
            raise BadUsage(f"--share {name}: no --kv, --d1, --queue or --service has that name")
    for name, text in deployment.rate_limits:
        parse_rate_limit(name, text)
    parse_limits(deployment.limits)


def service_target(given: str) -> tuple[str, str]:
    """The script of `SCRIPT#EXPORT`, and the export, or ""."""
    script, _, entrypoint = given.partition("#")
    return script, entrypoint


def parse_rate_limit(name: str, text: str) -> dict[str, Any]:
    """The binding of `100/60` or `100/60/ID`; without an ID, it counts with the tenant's others of this name.

    Raises BadUsage; whether the numbers are right is for the host to say.
    """
    limit, _, rest = text.partition("/")
    period, _, namespace_id = rest.partition("/")
    if not all(part.isascii() and part.isdigit() and len(part) <= 9 for part in (limit, period)):
        raise BadUsage(f"--rate-limit {name}={text[:40]}: LIMIT/SECONDS is right, as in {name}=100/60")
    return {
        "type": "ratelimit",
        "name": name,
        "namespace_id": namespace_id or name,
        "simple": {"limit": int(limit), "period": int(period)},
    }


def parse_limits(pairs: Pairs) -> dict[str, int]:
    """Raises BadUsage for a name that is no limit, and a value out of its range."""
    if not pairs:
        return {}
    from control.envelope import ApiError
    from control.upload_metadata import parse_limits as check_limits  # 100 ms, and few deploys need it

    limits: dict[str, int] = {}
    for name, text in pairs:
        if not text.isascii() or not text.isdigit() or len(text) > 16:
            raise BadUsage(f"--limit {name}={text[:40]}: a whole number is right")
        limits[name] = int(text)
    try:
        check_limits(limits)
    except ApiError as error:
        raise BadUsage(f"--limit: {error.message}") from None
    return limits


def upload_metadata(
    deployment: Deployment,
    kv_ids: Mapping[str, str],
    d1_ids: Mapping[str, str] | None = None,
    main_module: str = MAIN_MODULE,
) -> dict[str, Any]:
    """The `metadata` part. `kv_ids` has the id of every title in `deployment.kv`, `d1_ids` of every name in `.d1`.

    Secrets that the script has stay, unless a new one takes the name.
    """
    bindings: list[dict[str, Any]] = [
        {"type": "plain_text", "name": name, "text": text} for name, text in deployment.variables
    ]
    bindings += [
        {"type": "secret_text", "name": name, "text": text}
        for name, text in (deployment.secrets or {}).items()
    ]
    bindings += [
        {"type": "kv_namespace", "name": name, "namespace_id": kv_ids[title]} for name, title in deployment.kv
    ]
    bindings += [
        {"type": "d1", "name": name, "id": (d1_ids or {})[database]} for name, database in deployment.d1
    ]
    bindings += [{"type": "queue", "name": name, "queue_name": queue} for name, queue in deployment.queues]
    for name, given in deployment.services:
        script, entrypoint = service_target(given)
        service = {"type": "service", "name": name, "service": script}
        bindings.append(service | ({"entrypoint": entrypoint} if entrypoint else {}))
    bindings += [
        {"type": "dispatch_namespace", "name": name, "namespace": namespace}
        for name, namespace in deployment.dispatch
    ]
    bindings += [{"type": "cache", "name": name, "cache_name": cache} for name, cache in deployment.caches]
    bindings += [
        {"type": "analytics_engine", "name": name, "dataset": dataset}
        for name, dataset in deployment.datasets
    ]
    bindings += [parse_rate_limit(name, text) for name, text in deployment.rate_limits]
    for binding in bindings:
        if binding["name"] in deployment.shared:
            binding["shared"] = True
    metadata: dict[str, Any] = {
        "main_module": main_module,
        "bindings": bindings,
        "keep_bindings": ["secret_text"],
    }
    if deployment.tails:
        metadata["tail_consumers"] = [{"service": script} for script in deployment.tails]
    if deployment.tags:
        metadata["tags"] = list(deployment.tags)
    if deployment.tenant is not None:
        metadata["tenant"] = deployment.tenant
    if deployment.flags:
        metadata["compatibility_flags"] = list(deployment.flags)
    if deployment.warm_up is not None:
        metadata["warm_up"] = deployment.warm_up
    if deployment.limits:
        metadata["limits"] = parse_limits(deployment.limits)
    return metadata


def parse_secret_lines(names: Sequence[str], text: str) -> dict[str, str]:
    """The value of each of `names`, from stdin's text: one line each, `NAME=VALUE`, in any order.

    For a single name all of the text is the value (so a PEM block can be given), with or without `NAME=`
    in front; one line break at the end is dropped. Raises BadUsage, which never quotes a value.
    """
    if len(set(names)) != len(names):
        raise BadUsage("--secret: a name was given twice")
    if len(names) == 1:
        value = text.removesuffix("\n").removesuffix("\r").removeprefix(f"{names[0]}=")
        if not value:
            raise BadUsage(f"--secret {names[0]}: stdin holds no value for it")
        return {names[0]: value}
    values: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        name, equals, value = line.partition("=")
        if not equals or name not in names:
            raise BadUsage(
                f"line {number} of stdin is no NAME=VALUE of a --secret that was given ({', '.join(names)})",
                hint="a value of several lines is set with: tenantry secrets put",
            )
        if name in values:
            raise BadUsage(f"line {number} of stdin gives {name} a second time")
        values[name] = value
    missing = [name for name in names if not values.get(name)]
    if missing:
        raise BadUsage(
            f"--secret {missing[0]}: stdin holds no value for it", hint="one line each: NAME=VALUE"
        )
    return values
