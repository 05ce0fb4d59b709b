"""Every byte that leaves on a tenant's behalf: judged, resolved, pinned, streamed, recorded.

Comes in: an OutgoingRequest and the event it belongs to. Goes out: the upstream's Response, or an
OperationError that names the rule. May import: `model`, `expressions`.

`target`, `policy*`, `call_layer`, `addresses`, `header_hygiene`, `header_plan`, `following` and `hops` are pure;
only `resolver` and `connector` touch the network, and only `gateway` calls them.
"""
