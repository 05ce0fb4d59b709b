-- API tokens. Only control opens this file. `hash` is sha256 of 32 random bytes as they are written: no
-- dictionary helps against that, so nothing slower is needed.
CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    name TEXT NOT NULL,
    scopes TEXT NOT NULL,              -- JSON array of strings
    created_at_ms INTEGER NOT NULL
) WITHOUT ROWID;
