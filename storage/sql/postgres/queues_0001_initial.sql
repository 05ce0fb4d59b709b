-- Times are UNIX milliseconds. A lease is a message's `ready_at_ms` moved to the lease's end: one index answers
-- what may be delivered now, whether it was delayed, waits for a retry, or lost its deliverer.
CREATE SEQUENCE queue_sequence;
CREATE TABLE queue_messages (
    sequence bigint PRIMARY KEY DEFAULT nextval('queue_sequence'),   -- the order of sending
    id uuid NOT NULL UNIQUE,                      -- made by the sender: a send that is repeated adds nothing
    queue_id text COLLATE "C" NOT NULL,
    sent_at_ms bigint NOT NULL,
    expires_at_ms bigint NOT NULL,
    ready_at_ms bigint NOT NULL,
    attempts integer NOT NULL DEFAULT 0,          -- deliveries begun
    lease_id uuid,                                -- of the last delivery; still here when its time is over
    content_type text NOT NULL,
    body bytea NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);
CREATE INDEX queue_messages_ready ON queue_messages (queue_id, ready_at_ms, sequence);
CREATE INDEX queue_messages_lease ON queue_messages (lease_id) WHERE lease_id IS NOT NULL;
CREATE INDEX queue_messages_expiry ON queue_messages (expires_at_ms);

-- "Something of this queue becomes ready in this slot of ten seconds": looked up instead of all queues. Whoever
-- sets a message's `ready_at_ms` makes its ticket in the same transaction. A ticket is removed only when its slot
-- is long over and nothing of the queue is ready: a transaction that relied on one has ended by then. So there
-- is no row of a queue that all its senders and consumers would wait for.
CREATE TABLE queue_tickets (
    slot bigint NOT NULL,
    queue_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (slot, queue_id)
);

-- Messages and bytes that a queue holds: the sum over its shards. Each connection has a shard of its own, more
-- or less, for the same reason.
CREATE TABLE queue_backlogs (
    queue_id text COLLATE "C" NOT NULL,
    shard integer NOT NULL,
    messages bigint NOT NULL,
    bytes bigint NOT NULL,
    PRIMARY KEY (queue_id, shard)
) WITH (fillfactor = 50);

-- Ids are random and never used again: a worker that still holds a deleted queue can't fill it anew.
CREATE TABLE queue_deleted_queues (
    queue_id text COLLATE "C" PRIMARY KEY
);
