"""At the door: what a connection may send before anyone looks at it, and when it is shown out.

Comes in: listening sockets and an ASGI app. Goes out: ASGI scopes with exactly one valid host, and a
`Visitor` that tells when the visitor has left. May import: `model`.
"""
