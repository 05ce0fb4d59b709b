-- What was set for a queue; without a row nothing was.
CREATE TABLE queue_settings (
    queue_id text COLLATE "C" PRIMARY KEY,
    paused boolean NOT NULL,
    delay_s integer NOT NULL,
    retention_s integer NOT NULL
);
CREATE INDEX queue_settings_paused ON queue_settings (queue_id) WHERE paused;

-- Leases of queues whose consumer may have only so many at once; of others there are none. Whoever takes one has the
-- queue's lock for it, so that two don't count at a time. One that has ended is removed by who counts, and by the sweep.
CREATE TABLE queue_leases (
    id uuid PRIMARY KEY,
    queue_id text COLLATE "C" NOT NULL,
    ends_at_ms bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX queue_leases_of ON queue_leases (queue_id, ends_at_ms);
