"""One record a decision, to whoever keeps them. Never waits, never fails a request, counts what it lost."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from model.call_egress import EgressHosts
from model.identity import NamespaceName, RayId, ScriptName, TenantId
from model.scripts import OutboundStep
from outbound.policy import Result
from outbound.reasons import Reason


@dataclass(slots=True)
class AuditRecord:
    """What was decided about one request, and what became of it. Written when all of it is over.

    `result` is the decision; `reason` why, or for an allowed request that did not end well what went
    wrong. `policy_reason` is the policy's own word alone. No query, no header, no body is ever in it.
    """

    at_ms: int
    tenant: TenantId
    namespace: NamespaceName | None
    script: ScriptName
    ray_id: RayId
    method: str
    #: "" when the URL was refused before it was understood.
    scheme: str = ""
    host: str = ""
    port: int = 0
    path: str = ""
    result: Result = Result.DENY
    rule: str = ""
    #: Of the policy whose rule decided: namespace, tag:NAME, tenant, or call.
    layer: str = ""
    reason: Reason = Reason.URL_MALFORMED
    policy_reason: Reason | None = None
    policy_version: str = ""
    #: The address that was dialled, or the one that forbade it; "" before an address was known.
    address: str = ""
    #: The upstream's; 0 when there was none.
    status: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    #: From the call to the end of the response's body.
    duration_ms: int = 0
    #: What else the decision was made of, so that another policy can be asked about it later.
    tags: tuple[str, ...] = ()
    params: Mapping[str, str] = field(default_factory=dict)
    #: To which hosts the dispatcher narrowed the call; None: it said nothing.
    egress_hosts: EgressHosts | None = None
    #: How many redirects the gateway had followed before this request, and how many attempts at it had failed.
    redirect: int = 0
    retry: int = 0
    #: What an outbound worker had to do with it; None: nobody was asked, or the URL was refused before.
    outbound: OutboundStep | None = None


class AuditSink(Protocol):
    def record(self, record: AuditRecord) -> None:
        """Take it or drop and count it. Never waits, never raises."""


class AuditQueue:
    """Hands records to `write` on later turns of the loop, a few at a time.

    Holds at most `capacity`; more are dropped and counted. A `write` that raises loses that record, which
    is counted too.
    """

    def __init__(self, write: Callable[[AuditRecord], None], *, capacity: int = 10_000) -> None:
        self._write = write
        self._capacity = capacity
        self._waiting: deque[AuditRecord] = deque()
        self._scheduled = False
        #: Records that nobody will see.
        self.dropped = 0

    def record(self, record: AuditRecord) -> None:
        if len(self._waiting) >= self._capacity:
            self.dropped += 1
            return
        self._waiting.append(record)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._some)

    def flush(self) -> None:
        """Write all that waits; for shutdown."""
        while self._waiting:
            self._one()

    def _some(self) -> None:
        for _ in range(min(64, len(self._waiting))):
            self._one()
        self._scheduled = bool(self._waiting)
        if self._scheduled:
            asyncio.get_running_loop().call_soon(self._some)

    def _one(self) -> None:
        record = self._waiting.popleft()
        try:
            self._write(record)
        except Exception:  # whoever keeps the records is handed in: what it raises must not reach a request
            self.dropped += 1
