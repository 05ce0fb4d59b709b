-- SQL databases of several machines: whose each is now, and its pages. A machine's file is a copy of them.

-- `epoch` grows with each owner; what is written under another than the newest is refused. `seq` and `tag` are of the
-- last write: its number in the file's header, and a random number of the owner that made it. `pages` is 0 while
-- nothing was written yet.
CREATE TABLE d1_databases (
    id TEXT PRIMARY KEY,
    owner TEXT,
    epoch BIGINT NOT NULL DEFAULT 0,
    ends_at TIMESTAMPTZ NOT NULL DEFAULT '-infinity',
    wanted_by TEXT,
    wanted_at TIMESTAMPTZ,
    seq BIGINT NOT NULL,
    tag BIGINT NOT NULL,
    pages INTEGER NOT NULL
);

CREATE INDEX d1_databases_wanted ON d1_databases (owner) WHERE wanted_by IS NOT NULL;

-- Each page as it is now, deflated, and the write that made it so: what changed since a write is found by `seq`.
CREATE TABLE d1_pages (
    id TEXT NOT NULL REFERENCES d1_databases (id) ON DELETE CASCADE,
    page INTEGER NOT NULL,
    seq BIGINT NOT NULL,
    data BYTEA NOT NULL,
    PRIMARY KEY (id, page)
);

CREATE INDEX d1_pages_by_seq ON d1_pages (id, seq);

-- Up to which write each owner came: a copy that says otherwise is of a history that never was.
CREATE TABLE d1_tags (
    id TEXT NOT NULL REFERENCES d1_databases (id) ON DELETE CASCADE,
    tag BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    PRIMARY KEY (id, tag)
);
