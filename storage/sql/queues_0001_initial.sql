-- Times are UNIX milliseconds. A lease is a message's `ready_at_ms` moved to the lease's end: one index
-- answers what may be delivered now, whether it was delayed, waits for a retry, or lost its deliverer.
CREATE TABLE queue_messages (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,   -- the order of sending
    id TEXT NOT NULL,                             -- what a consumer sees; unique within its queue
    queue_id TEXT NOT NULL,
    sent_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    ready_at_ms INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,          -- deliveries begun
    lease_id TEXT,                                -- of the last delivery; still here when its time is over
    content_type TEXT NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX queue_messages_ready ON queue_messages (queue_id, ready_at_ms, sequence);
CREATE INDEX queue_messages_lease ON queue_messages (lease_id) WHERE lease_id IS NOT NULL;
CREATE INDEX queue_messages_expiry ON queue_messages (expires_at_ms);

-- One row a queue that has messages: a single indexed query finds the queues with work, however many there
-- are. Counts are kept by the triggers below; `next_ready_at_ms` by each statement that moves a message.
CREATE TABLE queue_heads (
    queue_id TEXT PRIMARY KEY,
    next_ready_at_ms INTEGER,
    messages INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX queue_heads_ready ON queue_heads (next_ready_at_ms);

CREATE TRIGGER queue_messages_added AFTER INSERT ON queue_messages BEGIN
    INSERT INTO queue_heads VALUES (new.queue_id, new.ready_at_ms, 1, length(new.body))
    ON CONFLICT (queue_id) DO UPDATE SET
        messages = messages + 1,
        bytes = bytes + excluded.bytes,
        next_ready_at_ms = min(coalesce(next_ready_at_ms, excluded.next_ready_at_ms), excluded.next_ready_at_ms);
END;

CREATE TRIGGER queue_messages_removed AFTER DELETE ON queue_messages BEGIN
    UPDATE queue_heads SET messages = messages - 1, bytes = bytes - length(old.body)
    WHERE queue_id = old.queue_id;
    DELETE FROM queue_heads WHERE queue_id = old.queue_id AND messages = 0;
END;

-- Ids are random and never used again: a worker that still holds a deleted queue can't fill it anew.
CREATE TABLE queue_deleted_queues (
    queue_id TEXT PRIMARY KEY
) WITHOUT ROWID;
