"""Service bindings: one worker calls another by name, without the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, cast

from bindings.arguments import check_count, invalid, type_name
from bindings.http_values import parse_request, response_value
from model.capabilities import CallOptions, EventContext, GuestEvent, ServiceTarget, WorkerRunner
from model.errors import OperationError, OperationErrorCode
from model.identity import AccountId, NamespaceName, ScriptName
from model.messages import Entry, OutgoingRequest, Response
from model.scripts import ScriptRef, ScriptVersion

#: The deployed version of a script, or None.
Lookup = Callable[[ScriptRef], ScriptVersion | None]

METHOD_CHARACTERS: Final = 256


class NamedService:
    """A ServiceTarget: the script of this name in the same dispatch namespace, else the plain one.

    Looked up at each call: the other end may be deployed, replaced or deleted at any time.
    """

    __slots__ = ("_account", "_candidates", "_entry", "_lookup", "_options", "_runner", "_script")

    def __init__(
        self,
        runner: WorkerRunner,
        lookup: Lookup,
        account: AccountId,
        namespace: NamespaceName | None,
        script: ScriptName,
        entry: Entry | None = None,
    ) -> None:
        """`entry`: where in it the binding leads, and with which props."""
        self._entry = entry
        self._options = CallOptions(shares_budget=True, entry=entry)
        self._runner = runner
        self._lookup = lookup
        self._account = account
        self._script = script
        plain = ScriptRef(None, script)
        self._candidates = (plain,) if namespace is None else (ScriptRef(namespace, script), plain)

    async def fetch(
        self, request: OutgoingRequest, caller: EventContext, call: str | None = None
    ) -> Response:
        options = self._options
        if call is not None:
            entry = self._entry or Entry()
            options = CallOptions(shares_budget=True, entry=Entry(entry.name, entry.props, call))
        for ref in self._candidates:
            found = self._lookup(ref)
            # Another account's script of that name does not exist here.
            if found is not None and found.account == self._account:
                return await self._runner.run(ref, request, caller, options)
        raise worker_not_found(self._script)


def worker_not_found(script: str) -> OperationError:
    """Its message begins with the words that dispatch workers elsewhere compare with."""
    return OperationError(OperationErrorCode.WORKER_NOT_FOUND, f"Worker not found: {script}")


async def service_fetch(event: GuestEvent, lent: object, args: Sequence[object]) -> object:
    check_count("service.fetch", args, 1, 1, "request")
    request = parse_request("service.fetch", event, args[0])
    event.lend_budget()
    return response_value(event, await cast("ServiceTarget", lent).fetch(request, event.context))


async def service_call(event: GuestEvent, lent: object, args: Sequence[object]) -> object:
    check_count("service.call", args, 2, 2, "request, method")
    method = args[1]
    if not isinstance(method, str) or not 0 < len(method) <= METHOD_CHARACTERS:
        invalid(
            f"service.call: method: {type_name(method)}; a name of 1 to {METHOD_CHARACTERS} characters is right"
        )
    request = parse_request("service.call", event, args[0])
    event.lend_budget()
    return response_value(event, await cast("ServiceTarget", lent).fetch(request, event.context, method))
