"""Rule held: what one tenant does with the gateway is no other tenant's: neither its connections nor its limits, and
no number of names that it invents takes the room of others.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from model.capabilities import EventContext
from model.identity import NamespaceName, TenantId
from model.messages import OutgoingRequest
from tests.outbound.conftest import WayOut, event, read_all
from tests.support.upstream import Upstream

MINE = event("acme")


@pytest.mark.parametrize(
    ("other", "connections"),
    [
        (MINE, 1),
        (replace(MINE, ray_id=event(ray_id="2").ray_id), 1),
        (replace(MINE, tenant=TenantId("other")), 2),
        # A tenant's name is unique in one namespace only, and two namespaces may have one policy.
        (replace(MINE, namespace=NamespaceName("staging")), 2),
        (replace(MINE, namespace=None), 2),
    ],
)
async def test_connections_are_one_tenants(way_out: WayOut, other: EventContext, connections: int) -> None:
    async with Upstream() as upstream:
        for context in (MINE, other):
            request = OutgoingRequest("GET", f"http://127.0.0.1:{upstream.port}/")
            await read_all(await way_out.gateway.fetch(request, context))
        assert upstream.connections == connections
