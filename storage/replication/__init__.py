"""Control data on many machines: each holds SQLite files, PostgreSQL holds the order in which they change.

Comes in: what one machine's writer is about to commit. Goes out: the same on every machine. May import: `model`,
`storage`. docs/decisions/0016-control-replication.md says why it is so.
"""
