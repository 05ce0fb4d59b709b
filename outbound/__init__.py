"""Every byte that leaves on a tenant's behalf: judged, resolved, pinned, streamed, recorded.

Comes in: an OutgoingRequest and the event it belongs to. Goes out: the upstream's Response, or an
OperationError that names the rule. May import: `model`.

`target`, `policy_document`, `policy`, `addresses`, `header_hygiene`, `hops` and `policy_tests` are pure;
only `resolver` and `connector` touch the network, and only `gateway` calls them.
"""
