"""Who stands before a way out, as the API says it: of a dispatch namespace and of a dispatch binding. Pure.

A namespace's is `{service, namespace?, params?}` or `{hook, params?}`; a binding's is Cloudflare's
`{worker: {service, environment}, params: [{name}]}`, or either of those. A name in `params` may stand alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from control.call import named, parse_script_field
from control.envelope import ApiError, Code
from model.identity import parse_namespace_name
from model.scripts import OutboundWorker, ScriptRef

MOST_PARAMS: Final = 64
PARAM_NAME_BYTES: Final = 256
#: Of params that the host itself gives; see dispatch.outbound_in_force.
_RESERVED: Final = "tenantry."
_HOOK: Final = re.compile(r"[a-z0-9_-]{1,63}")
#: Cloudflare's, about parts of a script that there are not here.
_IGNORED: Final = frozenset({"environment", "entrypoint"})
_FORMS: Final = "{service, namespace?, params?} or {hook, params?}"


def parse_outbound(value: object, field: str) -> OutboundWorker:
    """Of a namespace: without `params` any may be passed. Raises ApiError(400) naming the field."""
    given = _map(value, field, _FORMS)
    if unknown := given.keys() - {"service", "namespace", "hook", "params"} - _IGNORED:
        _wrong(f"{field}.{min(unknown)}"[:100], f"is no part of it; {_FORMS} is right")
    hook = given.get("hook")
    if (hook is None) == (given.get("service") is None):
        _wrong(field, f"{_FORMS} is right")
    params = None if given.get("params") is None else _parse_params(given["params"], f"{field}.params")
    if hook is None:
        return OutboundWorker(_parse_script(given, field), None, params)
    if not isinstance(hook, str) or not _HOOK.fullmatch(hook) or given.get("namespace") is not None:
        _wrong(f"{field}.hook", "the name of a hook of --hooks is right, and nothing beside it but params")
    return OutboundWorker(None, hook, params)


def parse_bound_outbound(value: object, field: str) -> OutboundWorker:
    """Of a binding: without `params` none may be passed. Raises ApiError(400) naming the field."""
    given = dict(_map(value, field, "{worker: {service}, params: [{name}]}"))
    worker = given.pop("worker", None)
    if worker is not None:
        given = {**_map(worker, f"{field}.worker", "{service}"), "params": given.pop("params", None), **given}
    if given.get("params") is None:
        given["params"] = []
    return parse_outbound(given, field)


def show_outbound(worker: OutboundWorker) -> dict[str, Any]:
    """As a namespace's is set."""
    shown: dict[str, Any] = {"hook": worker.hook}
    if worker.script is not None:
        shown = {"service": worker.script.script}
        if worker.script.namespace is not None:
            shown["namespace"] = worker.script.namespace
    return shown if worker.params is None else shown | {"params": _show_params(worker)}


def show_bound_outbound(worker: OutboundWorker) -> dict[str, Any]:
    """As a binding's is set."""
    shown = show_outbound(worker)
    params = shown.pop("params", [])
    if worker.hook is not None:
        return shown | {"params": params}
    return {"worker": shown, "params": params}


def _show_params(worker: OutboundWorker) -> list[dict[str, str]]:
    return [{"name": name} for name in worker.params or ()]


def _parse_script(given: Mapping[str, Any], field: str) -> ScriptRef:
    service, namespace = given["service"], given.get("namespace")
    if not isinstance(service, str):
        _wrong(f"{field}.service", "the name of a script is right")
    script = parse_script_field(service, f"{field}.service")
    if namespace is None:
        return ScriptRef(None, script)
    if not isinstance(namespace, str):
        _wrong(f"{field}.namespace", "the name of a dispatch namespace is right")
    return ScriptRef(named(parse_namespace_name, namespace, f"{field}.namespace"), script)


def _parse_params(value: object, field: str) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > MOST_PARAMS:
        _wrong(field, f"a list of at most {MOST_PARAMS} {{name}} is right")
    names: dict[str, None] = {}
    for index, item in enumerate(value):
        name = item.get("name") if isinstance(item, dict) else item
        if not isinstance(name, str) or not 0 < len(name.encode(errors="replace")) <= PARAM_NAME_BYTES:
            _wrong(f"{field}[{index}]", f"a name of at most {PARAM_NAME_BYTES} bytes is right")
        if name.startswith(_RESERVED):
            _wrong(f"{field}[{index}]", f"names that begin with {_RESERVED!r} are the platform's")
        names[name] = None
    return tuple(names)


def _map(value: object, field: str, form: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        _wrong(field, f"{form} is right")
    return value


def _wrong(field: str, what: str) -> NoReturn:
    raise ApiError(400, Code.VALIDATION, f"{field}: {what}", field)
