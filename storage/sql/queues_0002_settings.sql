-- What was set for a queue; without a row nothing was.
CREATE TABLE queue_settings (
    queue_id TEXT PRIMARY KEY,
    paused INTEGER NOT NULL,
    delay_s INTEGER NOT NULL,
    retention_s INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX queue_settings_paused ON queue_settings (queue_id) WHERE paused;

-- Leases of queues whose consumer may have only so many at once; of others there are none. One that has ended is
-- removed by whoever counts, and by the sweep.
CREATE TABLE queue_leases (
    id TEXT PRIMARY KEY,
    queue_id TEXT NOT NULL,
    ends_at_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX queue_leases_of ON queue_leases (queue_id, ends_at_ms);
