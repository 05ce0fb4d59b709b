"""Dispatch namespaces: a dispatch worker calls a tenant's worker by name, with limits and parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, cast

from bindings.arguments import check_count, invalid, parse_int, parse_options, parse_str, type_name
from bindings.http_values import parse_request, response_value
from bindings.service import Lookup, worker_not_found
from model.call_egress import MAX_EGRESS_HOSTS, EgressHosts, parse_egress_hosts
from model.capabilities import CallOptions, Dispatcher, EventContext, GuestEvent, WorkerRunner
from model.hostname import InvalidHostname
from model.identity import AccountId, InvalidName, NamespaceName, parse_script_name
from model.messages import OutgoingRequest, Response
from model.scripts import OutboundWorker, ScriptRef

#: Of params, and of outbound: entries, and bytes of names and values together.
PARAM_COUNT: Final = 64
PARAM_BYTES: Final = 16 * 1024
#: What a caller may lower, and the most that says anything.
LIMITS: Final[Mapping[str, int]] = {"cpu_ms": 300_000, "subrequests": 10_000}

_OPTIONS: Final = frozenset({"params", "limits", "outbound", "egress"})
_NO_OPTIONS: Final = CallOptions()


class StoredDispatcher:
    """A Dispatcher over the scripts of one dispatch namespace."""

    __slots__ = ("_account", "_lookup", "_namespace", "_outbound", "_runner")

    def __init__(
        self,
        runner: WorkerRunner,
        lookup: Lookup,
        account: AccountId,
        namespace: NamespaceName,
        outbound: OutboundWorker | None = None,
    ) -> None:
        """`outbound`: the binding's own outbound worker."""
        self._runner = runner
        self._lookup = lookup
        self._account = account
        self._namespace = namespace
        self._outbound = outbound

    async def fetch(
        self, script: str, request: OutgoingRequest, caller: EventContext, options: CallOptions
    ) -> Response:
        try:
            ref = ScriptRef(self._namespace, parse_script_name(script))
        except InvalidName as error:
            invalid(str(error))
        found = self._lookup(ref)
        # Another account's script of that name does not exist here.
        if found is None or found.account != self._account:
            raise worker_not_found(script)
        if self._outbound is not None:
            options = replace(options, outbound_worker=self._outbound)
        return await self._runner.run(ref, request, caller, options)


async def dispatch_fetch(event: GuestEvent, lent: object, args: Sequence[object]) -> object:
    check_count("dispatch.fetch", args, 2, 3, "script, request, options?")
    script = parse_str("script", args[0], 256)
    options = parse_call_options(args[2] if len(args) == 3 else None)
    request = parse_request("dispatch.fetch", event, args[1])
    response = await cast("Dispatcher", lent).fetch(script, request, event.context, options)
    return response_value(event, response)


def parse_call_options(value: object) -> CallOptions:
    """`{params?, limits?: {cpu_ms?, subrequests?}, outbound?, egress?: {allow}}`. Raises
    OperationError(invalid_argument).
    """
    if value is None:
        return _NO_OPTIONS
    options = parse_options("dispatch.fetch", value, _OPTIONS)
    limits = parse_options("dispatch.fetch: limits", options.get("limits"), frozenset(LIMITS))
    return CallOptions(
        limits={
            name: parse_int(f"limits.{name}", limit, 0 if name == "subrequests" else 1, LIMITS[name])
            for name, limit in limits.items()
        },
        params=_parse_params("params", options.get("params")),
        outbound_params=_parse_params("outbound", options.get("outbound")),
        egress_hosts=_parse_egress(options.get("egress")),
    )


def _parse_egress(value: object) -> EgressHosts | None:
    if value is None:
        return None
    allow = parse_options("dispatch.fetch: egress", value, frozenset({"allow"})).get("allow")
    if not isinstance(allow, list | tuple):
        invalid(
            f"egress.allow: {type_name(allow)}; a list of hosts is right, such as api.example.com or *.example.com"
        )
    if len(allow) > MAX_EGRESS_HOSTS:
        invalid(f"egress.allow: {len(allow)} hosts; at most {MAX_EGRESS_HOSTS} are right")
    try:
        return parse_egress_hosts(tuple(parse_str("egress.allow: a host", host, 256) for host in allow))
    except InvalidHostname as error:
        invalid(f"egress.allow: {error}")


def _parse_params(name: str, value: object) -> dict[str, str]:
    """A map of strings."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        invalid(f"{name}: {type_name(value)}; a map of strings is right")
    if len(value) > PARAM_COUNT:
        invalid(f"{name}: {len(value)} entries; at most {PARAM_COUNT} are right")
    params: dict[str, str] = {}
    room = PARAM_BYTES
    for key, text in value.items():
        key = parse_str(f"{name}: a key", key, 256)
        text = parse_str(f"{name}.{key}", text, PARAM_BYTES)
        room -= len(key.encode()) + len(text.encode())
        if room < 0:
            invalid(f"{name}: more than {PARAM_BYTES} bytes together")
        params[key] = text
    return params
