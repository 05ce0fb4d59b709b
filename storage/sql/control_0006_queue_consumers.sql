-- What a consumer has beside its row; without a row here, nothing. One that pulls is one whose script is '': so that a
-- queue has one consumer, whatever its type, holds for every release.
CREATE TABLE queue_consumer_settings (
    consumer_id TEXT PRIMARY KEY REFERENCES queue_consumers (id) ON DELETE CASCADE,
    max_concurrency INTEGER,
    visibility_timeout_ms INTEGER NOT NULL
) WITHOUT ROWID;
