"""KV values, queue messages and whatever else machines share, in PostgreSQL.

Comes in: an address, SQL by name. Goes out: what the SQLite stores answer, and `storage.failures` when the
server is away. May import: `model`, `storage`. Only this package knows asyncpg, and only `connection` and
`signals` hold connections.
"""
