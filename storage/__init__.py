"""How state is kept: SQLite files, named queries, migrations, the change log, keys, module bytes.

Comes in: functions over a transaction, SQL by name, bytes. Goes out: rows, change keys, and
`storage.failures` when the disk says no. May import: `model`. Only `storage.database` knows `apsw`.

Each domain (control, KV, queues) has a store class that speaks in its own nouns and hides its SQL: that is
the interface another engine implements; `storage.database.Database` is the SQLite engine below it.
"""
