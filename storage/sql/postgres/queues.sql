-- Statements of storage/postgres/queue_*.py. Times are UNIX milliseconds.

-- :name share_queues
-- Shared among senders; who deletes a queue takes the lock alone, so no message slips past its burial.
SELECT pg_advisory_xact_lock_shared(turn) FROM unnest($1::bigint[]) turn

-- :name take_turn
SELECT pg_advisory_xact_lock($1)

-- :name deleted_of
SELECT queue_id FROM queue_deleted_queues WHERE queue_id = ANY($1::text[])

-- :name settings
SELECT queue_id, paused, delay_s, retention_s FROM queue_settings WHERE queue_id = ANY($1::text[])

-- :name change_settings
-- $2 to $4: null is as it was; $5: the retention where nothing was set.
INSERT INTO queue_settings
VALUES ($1, coalesce($2::boolean, false), coalesce($3::integer, 0), coalesce($4::integer, $5::integer))
ON CONFLICT (queue_id) DO UPDATE SET
    paused = coalesce($2, queue_settings.paused), delay_s = coalesce($3, queue_settings.delay_s),
    retention_s = coalesce($4, queue_settings.retention_s)
RETURNING queue_id, paused, delay_s, retention_s

-- :name standings
SELECT wanted, EXISTS (SELECT 1 FROM queue_deleted_queues d WHERE d.queue_id = wanted), held.messages, held.bytes,
    s.delay_s, s.retention_s
FROM unnest($1::text[]) wanted LEFT JOIN queue_settings s ON s.queue_id = wanted
CROSS JOIN LATERAL (
    SELECT coalesce(sum(messages), 0)::bigint AS messages, coalesce(sum(bytes), 0)::bigint AS bytes
    FROM queue_backlogs b WHERE b.queue_id = wanted
) held

-- :name backlogs
SELECT queue_id, sum(messages)::bigint, sum(bytes)::bigint FROM queue_backlogs
WHERE queue_id = ANY($1::text[]) GROUP BY queue_id

-- :name totals
SELECT coalesce(sum(messages), 0)::bigint, coalesce(sum(bytes), 0)::bigint,
    (SELECT count(*) FROM queue_settings WHERE paused)
FROM queue_backlogs

-- :name send
WITH added AS (
    INSERT INTO queue_messages (id, queue_id, sent_at_ms, expires_at_ms, ready_at_ms, content_type, body)
    SELECT id, queue_id, sent, expires, ready, content_type, body
    FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::bytea[])
        WITH ORDINALITY AS wanted (id, queue_id, sent, expires, ready, content_type, body, at)
    ORDER BY at
    ON CONFLICT (id) DO NOTHING
    RETURNING queue_id, length(body) AS size
), tickets AS (
    INSERT INTO queue_tickets
    SELECT DISTINCT ready / 10000, queue_id FROM unnest($5::bigint[], $2::text[]) AS wanted (ready, queue_id)
    ORDER BY 1, 2
    ON CONFLICT DO NOTHING
)
INSERT INTO queue_backlogs
SELECT queue_id, pg_backend_pid() % 32, count(*), sum(size) FROM added GROUP BY queue_id ORDER BY queue_id
ON CONFLICT (queue_id, shard) DO UPDATE SET
    messages = queue_backlogs.messages + excluded.messages, bytes = queue_backlogs.bytes + excluded.bytes

-- :name add_tickets
INSERT INTO queue_tickets
SELECT DISTINCT ready / 10000, queue_id FROM unnest($1::bigint[], $2::text[]) AS wanted (ready, queue_id)
ORDER BY 1, 2
ON CONFLICT DO NOTHING

-- :name ready_queues
SELECT due.queue_id, oldest.ready_at_ms
FROM (
    SELECT DISTINCT queue_id FROM queue_tickets WHERE slot <= $1::bigint / 10000
    EXCEPT SELECT queue_id FROM queue_settings WHERE paused
) due
CROSS JOIN LATERAL (
    SELECT ready_at_ms FROM queue_messages m
    WHERE m.queue_id = due.queue_id AND m.ready_at_ms <= $1 AND m.expires_at_ms > $1
    ORDER BY m.ready_at_ms LIMIT 1
) oldest
ORDER BY oldest.ready_at_ms

-- :name ready_count
SELECT count(*) FROM (
    SELECT 1 FROM queue_messages WHERE queue_id = $1 AND ready_at_ms <= $2 AND expires_at_ms > $2 LIMIT $3
) ready

-- :name lease
WITH front AS (
    SELECT sequence FROM queue_messages
    WHERE queue_id = $1 AND ready_at_ms <= $2 AND expires_at_ms > $2
        AND NOT EXISTS (SELECT 1 FROM queue_settings WHERE queue_id = $1 AND paused)
    ORDER BY ready_at_ms, sequence LIMIT $3
    FOR UPDATE SKIP LOCKED
), ticket AS (
    INSERT INTO queue_tickets SELECT $5::bigint / 10000, $1 WHERE EXISTS (SELECT 1 FROM front)
    ON CONFLICT DO NOTHING
)
UPDATE queue_messages m SET lease_id = $4, ready_at_ms = $5, attempts = m.attempts + 1
FROM front WHERE m.sequence = front.sequence
RETURNING m.sequence, m.id, m.sent_at_ms, m.attempts, m.content_type, m.body

-- :name leased
SELECT sequence, id, sent_at_ms, attempts, content_type, body FROM queue_messages
WHERE lease_id = $1 AND queue_id = $2

-- :name count_leases
SELECT count(*) FROM queue_leases WHERE queue_id = $1 AND ends_at_ms > $2 AND id <> $3

-- :name add_lease
INSERT INTO queue_leases (id, queue_id, ends_at_ms, holder) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING

-- :name end_leases_of
DELETE FROM queue_leases WHERE holder = $1 RETURNING id, queue_id

-- :name give_back
UPDATE queue_messages SET ready_at_ms = $3 WHERE lease_id = $1 AND queue_id = $2 AND ready_at_ms > $3

-- :name drop_leases
DELETE FROM queue_leases WHERE queue_id = $1 AND ends_at_ms <= $2

-- :name renew_lease
UPDATE queue_leases SET ends_at_ms = $2 WHERE id = $1

-- :name end_lease
DELETE FROM queue_leases WHERE id = $1

-- :name sweep_leases
DELETE FROM queue_leases WHERE ends_at_ms <= $1

-- :name own_leases
UPDATE queue_messages m SET lease_id = wanted.lease_id
FROM unnest($1::bigint[], $2::uuid[]) AS wanted (sequence, lease_id) WHERE m.sequence = wanted.sequence

-- :name pulled
SELECT sequence, id, sent_at_ms, attempts, content_type, body, lease_id FROM queue_messages
WHERE lease_id = ANY($1::uuid[]) AND queue_id = $2 ORDER BY sequence

-- :name renew
UPDATE queue_messages SET ready_at_ms = $3 WHERE lease_id = $1 AND queue_id = $2 AND ready_at_ms < $3

-- :name of_lease
SELECT sequence, id, attempts FROM queue_messages WHERE lease_id = $1 AND queue_id = $2
ORDER BY sequence FOR UPDATE

-- :name of_pulls
SELECT sequence, lease_id, attempts, ready_at_ms FROM queue_messages
WHERE lease_id = ANY($1::uuid[]) AND queue_id = $2 ORDER BY sequence FOR UPDATE

-- :name remove
WITH gone AS (
    DELETE FROM queue_messages WHERE sequence = ANY($1::bigint[]) RETURNING queue_id, length(body) AS size
)
INSERT INTO queue_backlogs
SELECT queue_id, pg_backend_pid() % 32, -count(*), -sum(size) FROM gone GROUP BY queue_id ORDER BY queue_id
ON CONFLICT (queue_id, shard) DO UPDATE SET
    messages = queue_backlogs.messages + excluded.messages, bytes = queue_backlogs.bytes + excluded.bytes

-- :name retry
UPDATE queue_messages m SET ready_at_ms = wanted.ready, lease_id = NULL
FROM unnest($1::bigint[], $2::bigint[]) AS wanted (sequence, ready) WHERE m.sequence = wanted.sequence

-- :name put_back
UPDATE queue_messages SET ready_at_ms = $2, lease_id = NULL, attempts = attempts - 1
WHERE sequence = ANY($1::bigint[])

-- :name dead_letter
-- To the end of the other queue, as a message that nobody has seen.
WITH moved AS (
    UPDATE queue_messages SET
        queue_id = $2, sequence = nextval('queue_sequence'), ready_at_ms = $3, expires_at_ms = $4,
        attempts = 0, lease_id = NULL
    WHERE sequence = ANY($1::bigint[])
    RETURNING length(body) AS size
), changed (queue_id, messages, bytes) AS (
    SELECT $5::text, -count(*), -coalesce(sum(size), 0) FROM moved
    UNION ALL SELECT $2::text, count(*), coalesce(sum(size), 0) FROM moved
)
INSERT INTO queue_backlogs
SELECT queue_id, pg_backend_pid() % 32, sum(messages), sum(bytes) FROM changed GROUP BY queue_id ORDER BY queue_id
ON CONFLICT (queue_id, shard) DO UPDATE SET
    messages = queue_backlogs.messages + excluded.messages, bytes = queue_backlogs.bytes + excluded.bytes

-- :name peek
SELECT sequence, id, sent_at_ms, attempts, content_type, body FROM queue_messages
WHERE queue_id = $1 AND expires_at_ms > $2 ORDER BY sequence LIMIT $3

-- :name of_refs
SELECT sequence, id FROM queue_messages WHERE id = ANY($1::uuid[]) AND queue_id = $2 ORDER BY sequence FOR UPDATE

-- :name some_of_queue
SELECT sequence FROM queue_messages WHERE queue_id = $1 AND sequence <= $2
ORDER BY sequence LIMIT $3 FOR UPDATE

-- :name last_sequence
SELECT coalesce(max(sequence), 0) FROM queue_messages

-- :name bury_queue
INSERT INTO queue_deleted_queues VALUES ($1) ON CONFLICT DO NOTHING

-- :name forget_settings
DELETE FROM queue_settings WHERE queue_id = $1

-- :name forget_leases
DELETE FROM queue_leases WHERE queue_id = $1

-- :name forget_backlog
DELETE FROM queue_backlogs WHERE queue_id = $1

-- :name expired
SELECT sequence FROM queue_messages WHERE expires_at_ms <= $1
ORDER BY expires_at_ms LIMIT $2 FOR UPDATE SKIP LOCKED

-- :name prune_tickets
-- Of a queue that has something ready, the newest of those that are long over stays.
DELETE FROM queue_tickets t WHERE t.slot < ($1::bigint - 60000) / 10000 AND (
    NOT EXISTS (SELECT 1 FROM queue_messages m WHERE m.queue_id = t.queue_id AND m.ready_at_ms <= $1)
    OR EXISTS (
        SELECT 1 FROM queue_tickets newer
        WHERE newer.queue_id = t.queue_id AND newer.slot > t.slot AND newer.slot < ($1::bigint - 60000) / 10000
    )
)
