-- Statements of storage/queue_store.py and queue_rows.py. Times are UNIX milliseconds.

-- :name is_deleted
SELECT 1 FROM queue_deleted_queues WHERE queue_id = ?1

-- :name backlog
SELECT messages, bytes FROM queue_heads WHERE queue_id = ?1

-- :name send
INSERT INTO queue_messages (id, queue_id, sent_at_ms, expires_at_ms, ready_at_ms, content_type, body)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)

-- :name ready_queues
SELECT queue_id, next_ready_at_ms FROM queue_heads h WHERE next_ready_at_ms <= ?1
    AND NOT EXISTS (SELECT 1 FROM queue_settings s WHERE s.queue_id = h.queue_id AND s.paused)
ORDER BY next_ready_at_ms

-- :name ready_count
SELECT count(*) FROM (
    SELECT 1 FROM queue_messages WHERE queue_id = ?1 AND ready_at_ms <= ?2 AND expires_at_ms > ?2 LIMIT ?3
)

-- :name worn_out
-- Ready again, though its deliveries are used up: each of them ended with its process. Only the first ?4
-- ready messages are looked at, those that a lease would take: a long backlog is not read for it.
SELECT sequence FROM (
    SELECT sequence, attempts FROM queue_messages
    WHERE queue_id = ?1 AND ready_at_ms <= ?2 ORDER BY ready_at_ms, sequence LIMIT ?4
) WHERE attempts >= ?3

-- :name drop_expired
-- Past their retention, among the same: else they would stand in the way of the others.
DELETE FROM queue_messages WHERE sequence IN (
    SELECT sequence FROM (
        SELECT sequence, expires_at_ms FROM queue_messages
        WHERE queue_id = ?1 AND ready_at_ms <= ?2 ORDER BY ready_at_ms, sequence LIMIT ?3
    ) WHERE expires_at_ms <= ?2
)

-- :name lease
UPDATE queue_messages SET lease_id = ?4, ready_at_ms = ?5, attempts = attempts + 1
WHERE sequence IN (
    SELECT sequence FROM queue_messages
    WHERE queue_id = ?1 AND ready_at_ms <= ?2 AND expires_at_ms > ?2
    ORDER BY ready_at_ms, sequence LIMIT ?3
)
RETURNING sequence, id, sent_at_ms, attempts, content_type, body

-- :name renew
UPDATE queue_messages SET ready_at_ms = ?3 WHERE lease_id = ?1 AND queue_id = ?2 AND ready_at_ms < ?3

-- :name of_lease
SELECT sequence, id, attempts FROM queue_messages WHERE lease_id = ?1 AND queue_id = ?2

-- :name own_lease
UPDATE queue_messages SET lease_id = ?2 WHERE sequence = ?1

-- :name of_pulls
SELECT lease_id, sequence, attempts, ready_at_ms FROM queue_messages
WHERE lease_id IN (SELECT value FROM json_each(?1)) AND queue_id = ?2

-- :name count_leases
SELECT count(*) FROM queue_leases WHERE queue_id = ?1 AND ends_at_ms > ?2

-- :name add_lease
INSERT INTO queue_leases (id, queue_id, ends_at_ms, holder) VALUES (?1, ?2, ?3, ?4)

-- :name leases_of
SELECT id, queue_id FROM queue_leases WHERE holder = ?1

-- :name give_back
UPDATE queue_messages SET ready_at_ms = ?3 WHERE lease_id = ?1 AND queue_id = ?2 AND ready_at_ms > ?3

-- :name renew_lease
UPDATE queue_leases SET ends_at_ms = ?2 WHERE id = ?1

-- :name end_lease
DELETE FROM queue_leases WHERE id = ?1

-- :name drop_leases
DELETE FROM queue_leases WHERE queue_id = ?1 AND ends_at_ms <= ?2

-- :name sweep_leases
DELETE FROM queue_leases WHERE ends_at_ms <= ?1

-- :name settings
SELECT paused, delay_s, retention_s FROM queue_settings WHERE queue_id = ?1

-- :name settings_of
SELECT queue_id, paused, delay_s, retention_s FROM queue_settings
WHERE queue_id IN (SELECT value FROM json_each(?1))

-- :name put_settings
INSERT INTO queue_settings VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (queue_id) DO UPDATE SET
    paused = excluded.paused, delay_s = excluded.delay_s, retention_s = excluded.retention_s

-- :name totals
SELECT coalesce(sum(messages), 0), coalesce(sum(bytes), 0),
    (SELECT count(*) FROM queue_settings WHERE paused)
FROM queue_heads

-- :name remove
DELETE FROM queue_messages WHERE sequence = ?1

-- :name retry
UPDATE queue_messages SET ready_at_ms = ?2, lease_id = NULL WHERE sequence = ?1

-- :name put_back
UPDATE queue_messages SET ready_at_ms = ?3, lease_id = NULL, attempts = attempts - 1
WHERE lease_id = ?1 AND queue_id = ?2

-- :name take
DELETE FROM queue_messages WHERE sequence = ?1
RETURNING id, sent_at_ms, content_type, body

-- :name refresh_head
UPDATE queue_heads SET next_ready_at_ms = (
    SELECT min(ready_at_ms) FROM queue_messages WHERE queue_id = ?1
) WHERE queue_id = ?1

-- :name peek
SELECT sequence, id, sent_at_ms, attempts, content_type, body FROM queue_messages
WHERE queue_id = ?1 AND expires_at_ms > ?2 ORDER BY sequence LIMIT ?3

-- :name remove_one
DELETE FROM queue_messages WHERE sequence = ?1 AND queue_id = ?2 AND id = ?3

-- :name purge_some
DELETE FROM queue_messages WHERE sequence IN (
    SELECT sequence FROM queue_messages WHERE queue_id = ?1 AND sequence <= ?2 LIMIT ?3
)

-- :name last_sequence
SELECT max(sequence) FROM queue_messages

-- :name bury_queue
INSERT INTO queue_deleted_queues VALUES (?1) ON CONFLICT DO NOTHING

-- :name forget_settings
DELETE FROM queue_settings WHERE queue_id = ?1

-- :name forget_leases
DELETE FROM queue_leases WHERE queue_id = ?1

-- :name expired
SELECT sequence, queue_id FROM queue_messages WHERE expires_at_ms <= ?1 ORDER BY expires_at_ms LIMIT ?2
