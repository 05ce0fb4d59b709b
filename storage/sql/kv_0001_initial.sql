-- Keys are bytes (UTF-8), so that their order is byte order and a NUL is a character like any other.
-- The value is last: a row's small columns are read without following a large value's pages.
CREATE TABLE kv_entries (
    namespace_id TEXT NOT NULL,
    key BLOB NOT NULL,
    expiration INTEGER,                 -- UNIX seconds; from then on the key is gone
    metadata TEXT,                      -- JSON
    size INTEGER NOT NULL,              -- of the value, in bytes
    value BLOB NOT NULL,
    PRIMARY KEY (namespace_id, key)
) WITHOUT ROWID;

-- For the sweep alone: most keys never expire and are not in it.
CREATE INDEX kv_entries_expiration ON kv_entries (expiration) WHERE expiration IS NOT NULL;

-- Ids are random and never used again: a worker that still holds a deleted namespace can't fill it anew.
CREATE TABLE kv_deleted_namespaces (
    namespace_id TEXT PRIMARY KEY
) WITHOUT ROWID;

-- What list cursors are signed with, the same in every process.
CREATE TABLE kv_cursor_key (
    key BLOB NOT NULL
);
INSERT INTO kv_cursor_key VALUES (randomblob(32));
