"""Which worker answers, whether there is room for it, and how its answer reaches the visitor.

Comes in: ASGI scope, receive and send; a RouteStore. Goes out: Routed or NoRoute, a permit, ASGI messages.
May import: `model`, `runtime`. Storage is seen only as `model.capabilities.RouteStore`.
"""
