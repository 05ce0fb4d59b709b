-- The order in which control data changed on the whole platform. Each machine holds a replica in SQLite files.

-- One row: which platform this database is of. Machines with another root key can't read its secrets.
CREATE TABLE replication_platform (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    id TEXT NOT NULL,
    root_key_id TEXT NOT NULL
);

-- One row a file: whoever writes locks it. `pruned`: entries up to this one are gone.
CREATE TABLE replication_heads (
    file TEXT PRIMARY KEY,
    founder TEXT NOT NULL,
    seq BIGINT NOT NULL,
    chain BYTEA NOT NULL,
    pruned BIGINT NOT NULL,
    snapshot_seq BIGINT NOT NULL
);

-- `kind` is 'changes' (a changeset of SQLite's session extension) or 'migration' (which step, as JSON). `chain` is
-- a SHA-256 over all that came before and this.
CREATE TABLE replication_log (
    file TEXT NOT NULL,
    seq BIGINT NOT NULL,
    kind TEXT NOT NULL,
    payload BYTEA NOT NULL,
    chain BYTEA NOT NULL,
    batch TEXT NOT NULL,
    machine TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (file, seq),
    UNIQUE (file, batch)
);

-- The whole file as it was after entry `seq`, compressed.
CREATE TABLE replication_snapshots (
    file TEXT NOT NULL,
    seq BIGINT NOT NULL,
    chunks INTEGER NOT NULL,
    sha256 BYTEA NOT NULL,
    PRIMARY KEY (file, seq)
);
CREATE TABLE replication_snapshot_chunks (
    file TEXT NOT NULL,
    seq BIGINT NOT NULL,
    number INTEGER NOT NULL,
    data BYTEA NOT NULL,
    PRIMARY KEY (file, seq, number),
    FOREIGN KEY (file, seq) REFERENCES replication_snapshots (file, seq) ON DELETE CASCADE
);
ALTER TABLE replication_snapshot_chunks ALTER COLUMN data SET STORAGE EXTERNAL;

-- What each machine said of itself last.
CREATE TABLE replication_machines (
    machine TEXT NOT NULL,
    file TEXT NOT NULL,
    seq BIGINT NOT NULL,
    name TEXT NOT NULL,
    seen_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (machine, file)
);

-- Module bytes by SHA-256. `put_at`: when somebody last said that it is wanted.
CREATE TABLE objects (
    digest TEXT PRIMARY KEY,
    size BIGINT NOT NULL,
    chunks INTEGER NOT NULL,
    put_at TIMESTAMPTZ NOT NULL
);
CREATE TABLE object_chunks (
    digest TEXT NOT NULL REFERENCES objects (digest) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    data BYTEA NOT NULL,
    PRIMARY KEY (digest, number)
);
ALTER TABLE object_chunks ALTER COLUMN data SET STORAGE EXTERNAL;
