"""What the `metadata` part of an upload says, checked: a storage.script_records.Deployment.

Keys that are Cloudflare's and mean nothing here are ignored, since its clients send them all the time; a typo in
what is ours (limits, bindings) is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from bindings.queues import MOST_DELAY_S
from control.call import decode_json, named, parse_script_field
from control.compatibility import parse_date, parse_flags
from control.envelope import ApiError, Code
from control.outbound_setting import parse_bound_outbound
from control.rate_limit_setting import parse_rate_limit
from model.analytics import parse_dataset_name
from model.identity import (
    AccountId,
    TenantId,
    parse_binding_name,
    parse_cache_name,
    parse_namespace_name,
    parse_tag,
    parse_tenant_id,
)
from model.limits import MIB
from model.rates import encode_rate_limit
from model.scripts import BindingKind, OutboundWorker, ScriptRef
from storage.binding_rules import MOST_BINDINGS, BindingRequest, RequestedBinding
from storage.script_records import Deployment

MOST_TAGS: Final = 8
TEXT_BYTES: Final = 5 * 1024
#: Characters of an export's name.
ENTRYPOINT: Final = 128
MOST_TAIL_CONSUMERS: Final = 8
TENANT_TAG: Final = "tenant:"
#: Of a cache binding without a name.
DEFAULT_CACHE: Final = "default"

#: metadata.limits: name → (field of model.limits.Limits, least, most, factor).
_LIMITS: Final[Mapping[str, tuple[str, int, int, int]]] = {
    "cpu_ms": ("cpu_ms", 1, 300_000, 1),
    "subrequests": ("subrequests", 0, 10_000, 1),
    "memory_mb": ("memory_bytes", 1, 128, MIB),
    "request_body_bytes": ("request_body_bytes", 0, 5 << 30, 1),
    "wall_ms": ("wall_ms", 1, 900_000, 1),
    "operations": ("operations", 0, 100_000, 1),
}
#: The key that holds a binding's target. json, secret_text and plain_text are read apart.
_TARGET_KEYS: Final = {
    BindingKind.KV_NAMESPACE: "namespace_id",
    BindingKind.QUEUE: "queue_name",
    BindingKind.SERVICE: "service",
    BindingKind.DISPATCH_NAMESPACE: "namespace",
}


class UploadMetadata(msgspec.Struct):
    """The keys that mean something here."""

    main_module: str | None = None
    #: Of a worker in JavaScript's service-worker syntax.
    body_part: str | None = None
    compatibility_date: str | None = None
    compatibility_flags: list[str] = []
    #: Path of a request that a worker in JavaScript answers once before it is kept.
    warm_up: str | None = None
    #: Of the wasm part, where a client insists on a `main_module` of its own (wrangler's unsafe metadata).
    wasm_main: str | None = None
    tenant: str | None = None
    tags: list[str] = []
    bindings: list[dict[str, Any]] = []
    keep_bindings: list[str] = []
    limits: dict[str, Any] | None = None
    tail_consumers: list[dict[str, Any]] | None = None


def parse_metadata(data: bytes) -> UploadMetadata:
    """Raises ApiError(400) naming the field."""
    return decode_json(data, UploadMetadata, "metadata")


def plan_deployment(account: AccountId, ref: ScriptRef, metadata: UploadMetadata) -> Deployment:
    """Pure. Raises ApiError(400) naming the field."""
    tags = parse_tags(metadata.tags, "tags")
    bindings, secret_texts = _parse_bindings(metadata)
    return Deployment(
        ref=ref,
        tenant=_parse_tenant(metadata.tenant, tags),
        bindings=bindings,
        tags=tags,
        limits=parse_limits(metadata.limits or {}),
        secret_texts=secret_texts,
        account=account,
        tail_consumers=_parse_tail_consumers(ref, metadata.tail_consumers or []),
        compatibility_date=parse_date(metadata.compatibility_date),
        compatibility_flags=parse_flags(metadata.compatibility_flags),
    )


def parse_tags(tags: list[str], field: str) -> tuple[str, ...]:
    """At most 8, each once."""
    parsed = tuple(
        dict.fromkeys(named(parse_tag, tag, f"{field}[{index}]") for index, tag in enumerate(tags))
    )
    if len(parsed) > MOST_TAGS:
        raise ApiError(
            400, Code.VALIDATION, f"{field}: {len(parsed)} tags; at most {MOST_TAGS} are allowed", field
        )
    return parsed


def parse_limits(limits: Mapping[str, Any]) -> dict[str, int]:
    """metadata.limits → names of model.limits.Limits fields."""
    parsed: dict[str, int] = {}
    for name, value in limits.items():
        if value is None:
            continue
        rule = _LIMITS.get(name)
        field = f"limits.{name}"
        if rule is None:
            raise ApiError(
                400,
                Code.VALIDATION,
                f"limits: {name[:64]!r} is no limit; {', '.join(_LIMITS)} are right",
                "limits",
            )
        target, least, most, factor = rule
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ApiError(
                400,
                Code.VALIDATION,
                f"{field}: {_shown(value)}; a whole number from {least} to {most} is right",
                field,
            )
        parsed[target] = value * factor
    return parsed


def show_limits(limits: Mapping[str, int]) -> dict[str, int]:
    """The other way round."""
    names = {target: (name, factor) for name, (target, _, _, factor) in _LIMITS.items()}
    return {names[field][0]: value // names[field][1] for field, value in limits.items() if field in names}


def secret_text(text: object, field: str) -> str:
    """Raises ApiError(400), without the text."""
    if not isinstance(text, str):
        raise ApiError(400, Code.VALIDATION, f"{field}: missing, or no string; a string is right", field)
    _check_size(text, field)
    return text


def _parse_tenant(tenant: str | None, tags: tuple[str, ...]) -> TenantId | None:
    tagged = [tag.removeprefix(TENANT_TAG) for tag in tags if tag.startswith(TENANT_TAG)]
    wanted = dict.fromkeys([tenant, *tagged] if tenant is not None else tagged)
    if len(wanted) > 1:
        raise ApiError(
            400,
            Code.VALIDATION,
            f"tenant: {' and '.join(repr(str(name)[:80]) for name in wanted)} can't both be the tenant; name it"
            " once, as `tenant` or by one tag `tenant:<id>`",
            "tenant",
        )
    for name in wanted:
        return named(parse_tenant_id, str(name), "tenant")
    return None


def _parse_bindings(metadata: UploadMetadata) -> tuple[BindingRequest, dict[str, str]]:
    if len(metadata.bindings) > MOST_BINDINGS:
        raise ApiError(
            400,
            10055,
            f"bindings: {len(metadata.bindings)}; at most {MOST_BINDINGS} are allowed",
            "bindings",
        )
    requested: list[RequestedBinding] = []
    inherited: dict[str, str] = {}
    secret_texts: dict[str, str] = {}
    seen: set[str] = set()
    for index, binding in enumerate(metadata.bindings):
        field = f"bindings[{index}]"
        name = _binding_name(binding.get("name"), field)
        if name in seen:
            raise ApiError(
                400, Code.VALIDATION, f"{field}.name: {name!r} is there twice; names are unique", field
            )
        seen.add(name)
        kind = binding.get("type")
        if kind == "inherit":
            inherited[name] = field
            continue
        if kind not in tuple(BindingKind):
            raise ApiError(
                400,
                Code.VALIDATION,
                f"{field}.type: {_shown(kind)} is no binding type; {', '.join(BindingKind)} and inherit are right",
                f"{field}.type",
            )
        wanted = _parse_binding(BindingKind(kind), name, binding, field)
        if wanted.kind is BindingKind.SECRET_TEXT:
            secret_texts[name] = secret_text(binding.get("text"), f"{field}.text")
        requested.append(wanted)
    # Kinds that we don't know are a client's habit (`secret_key`): there are no such bindings to keep.
    keep = frozenset(BindingKind(kind) for kind in metadata.keep_bindings if kind in tuple(BindingKind))
    return BindingRequest(tuple(requested), inherited, keep), secret_texts


def _binding_name(name: object, field: str) -> str:
    if not isinstance(name, str):
        raise ApiError(400, 10052, f"{field}.name: missing, or no string; a string is right", f"{field}.name")
    return named(parse_binding_name, name, f"{field}.name")


def _parse_binding(kind: BindingKind, name: str, binding: Mapping[str, Any], field: str) -> RequestedBinding:
    shared = binding.get("shared", False)
    if not isinstance(shared, bool):
        raise ApiError(
            400,
            Code.VALIDATION,
            f"{field}.shared: {_shown(shared)}; true or false is right",
            f"{field}.shared",
        )
    outbound: OutboundWorker | None = None
    match kind:
        case BindingKind.SECRET_TEXT:
            target = ""
        case BindingKind.PLAIN_TEXT:
            target = _required_text(binding, "text", field)
            _check_size(target, f"{field}.text")
        case BindingKind.JSON:
            if "json" not in binding:
                raise ApiError(
                    400, Code.VALIDATION, f"{field}.json: missing; any JSON value is right", f"{field}.json"
                )
            target = msgspec.json.encode(binding["json"]).decode()
            _check_size(target, f"{field}.json")
        case BindingKind.SERVICE:
            target = parse_script_field(_required_text(binding, "service", field), f"{field}.service")
        case BindingKind.DISPATCH_NAMESPACE:
            if binding.get("outbound") is not None:
                outbound = parse_bound_outbound(binding["outbound"], f"{field}.outbound")
            text = _required_text(binding, "namespace", field)
            target = named(parse_namespace_name, text, f"{field}.namespace")
        case BindingKind.D1:
            # Clients write `id`, `database_id`, or both.
            target = _required_text(binding, "id" if "id" in binding else "database_id", field)
        case BindingKind.RATE_LIMIT:
            target = encode_rate_limit(parse_rate_limit(binding, field))
        case BindingKind.CACHE:
            text = binding.get("cache_name", DEFAULT_CACHE)
            target = named(parse_cache_name, str(text), f"{field}.cache_name")
        case BindingKind.ANALYTICS_ENGINE:
            # Cloudflare's clients leave the dataset's name out where it is the binding's.
            text = binding["dataset"] if binding.get("dataset") is not None else name
            target = named(parse_dataset_name, str(text), f"{field}.dataset")
        case BindingKind.KV_NAMESPACE | BindingKind.QUEUE:
            target = _required_text(binding, _TARGET_KEYS[kind], field)
    entrypoint, props = _entry(kind, binding, field)
    delay = _delivery_delay(kind, binding, field)
    return RequestedBinding(kind, name, target, shared, field, outbound, delay, entrypoint, props)


def _entry(kind: BindingKind, binding: Mapping[str, Any], field: str) -> tuple[str | None, str | None]:
    """Of a service's binding: the entry point, and the JSON of its props."""
    if kind is not BindingKind.SERVICE:
        return None, None
    name, props = binding.get("entrypoint"), binding.get("props")
    where = f"{field}.entrypoint"
    if name is not None and not (
        isinstance(name, str) and 0 < len(name) <= ENTRYPOINT and name.isprintable()
    ):
        raise ApiError(
            400,
            Code.VALIDATION,
            f"{where}: {_shown(name)}; the name of an export, of 1 to {ENTRYPOINT} characters, is right",
            where,
        )
    where = f"{field}.props"
    if props is not None and not isinstance(props, dict):
        raise ApiError(400, Code.VALIDATION, f"{where}: {_shown(props)}; a JSON object is right", where)
    text = None if props is None else msgspec.json.encode(props).decode()
    _check_size(text or "", where)
    return None if name == "default" else name, text


def _parse_tail_consumers(ref: ScriptRef, given: list[dict[str, Any]]) -> tuple[str, ...]:
    if len(given) > MOST_TAIL_CONSUMERS:
        raise ApiError(
            400,
            Code.VALIDATION,
            f"tail_consumers: {len(given)}; at most {MOST_TAIL_CONSUMERS} are allowed",
            "tail_consumers",
        )
    names: list[str] = []
    for index, consumer in enumerate(given):
        field = f"tail_consumers[{index}]"
        namespace = consumer.get("namespace")
        if namespace is not None and namespace != ref.namespace:
            raise ApiError(
                400,
                Code.VALIDATION,
                f"{field}.namespace: {_shown(namespace)}; a consumer is a script of the same namespace or a plain one,"
                " by its name alone",
                f"{field}.namespace",
            )
        names.append(parse_script_field(_required_text(consumer, "service", field), f"{field}.service"))
    return tuple(dict.fromkeys(names))


def _delivery_delay(kind: BindingKind, binding: Mapping[str, Any], field: str) -> int | None:
    """Of a queue's binding, in s."""
    value = binding.get("delivery_delay")
    if kind is not BindingKind.QUEUE or value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_DELAY_S:
        where = f"{field}.delivery_delay"
        raise ApiError(
            400,
            Code.VALIDATION,
            f"{where}: {_shown(value)}; seconds, a whole number from 0 to {MOST_DELAY_S}, are right",
            where,
        )
    return value


def _required_text(binding: Mapping[str, Any], key: str, field: str) -> str:
    value = binding.get(key)
    if not isinstance(value, str):
        raise ApiError(
            400,
            Code.VALIDATION,
            f"{field}.{key}: {'missing' if key not in binding else _shown(value)}; a string is right",
            f"{field}.{key}",
        )
    return value


def _check_size(text: str, field: str) -> None:
    size = len(text.encode())
    if size > TEXT_BYTES:
        raise ApiError(400, 10054, f"{field}: {size} bytes; at most {TEXT_BYTES} are allowed", field)


def _shown(value: object) -> str:
    if value is None or isinstance(value, bool | int | float):
        return msgspec.json.encode(value).decode()[:40]
    if isinstance(value, str):
        return repr(value[:64])
    return f"a {type(value).__name__}"
