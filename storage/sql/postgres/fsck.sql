-- Statements of storage/fsck_postgres.py, fsck_platform.py and fsck_shared_repair.py. Each sees one moment. Ids are
-- found by hopping from one to the next in an index, since there are few of them and many rows of each.

-- :name kv_held
WITH RECURSIVE held AS (
    (SELECT namespace_id FROM kv_entries ORDER BY namespace_id LIMIT 1)
    UNION ALL
    SELECT (
        SELECT e.namespace_id FROM kv_entries e WHERE e.namespace_id > held.namespace_id
        ORDER BY e.namespace_id LIMIT 1
    ) FROM held WHERE held.namespace_id IS NOT NULL
)
SELECT namespace_id FROM held WHERE namespace_id IS NOT NULL

-- :name kv_buried
SELECT namespace_id FROM kv_deleted_namespaces

-- :name kv_wrong_sizes
-- Values of which something is missing.
SELECT e.namespace_id, count(*) FROM kv_entries e
LEFT JOIN (SELECT value_id, sum(length(data)) AS bytes FROM kv_chunks GROUP BY value_id) p ON p.value_id = e.value_id
WHERE e.size <> CASE WHEN e.value_id IS NULL THEN length(e.value) ELSE coalesce(p.bytes, 0) END
GROUP BY e.namespace_id ORDER BY e.namespace_id

-- :name kv_lost_pieces
SELECT count(DISTINCT c.value_id), coalesce(sum(length(c.data)), 0)::bigint FROM kv_chunks c
WHERE NOT EXISTS (SELECT 1 FROM kv_entries e WHERE e.value_id = c.value_id)

-- :name kv_remove_lost_pieces
DELETE FROM kv_chunks c WHERE NOT EXISTS (SELECT 1 FROM kv_entries e WHERE e.value_id = c.value_id)

-- :name queues_held
WITH RECURSIVE held AS (
    (SELECT queue_id FROM queue_messages ORDER BY queue_id LIMIT 1)
    UNION ALL
    SELECT (
        SELECT m.queue_id FROM queue_messages m WHERE m.queue_id > held.queue_id ORDER BY m.queue_id LIMIT 1
    ) FROM held WHERE held.queue_id IS NOT NULL
)
SELECT queue_id FROM held WHERE queue_id IS NOT NULL
UNION SELECT queue_id FROM queue_settings

-- :name queues_buried
SELECT queue_id FROM queue_deleted_queues

-- :name queues_without_tickets
-- What is ready is found by any ticket of a slot that has come; what will be, by the ticket of its own.
SELECT m.queue_id, count(*) FROM queue_messages m
WHERE NOT EXISTS (
    SELECT 1 FROM queue_tickets t WHERE t.queue_id = m.queue_id
        AND CASE WHEN m.ready_at_ms <= $1 THEN t.slot <= $1::bigint / 10000 ELSE t.slot = m.ready_at_ms / 10000 END
)
GROUP BY m.queue_id ORDER BY m.queue_id

-- :name queues_make_tickets
INSERT INTO queue_tickets
SELECT DISTINCT ready_at_ms / 10000, queue_id FROM queue_messages WHERE queue_id = $1
ON CONFLICT DO NOTHING

-- :name queues_leased_too_long
SELECT queue_id, count(*) FROM queue_messages WHERE lease_id IS NOT NULL AND ready_at_ms > $1
GROUP BY queue_id ORDER BY queue_id

-- :name queues_give_back
UPDATE queue_messages SET lease_id = NULL, ready_at_ms = $2
WHERE queue_id = $1 AND lease_id IS NOT NULL AND ready_at_ms > $3

-- :name queues_counted_wrong
SELECT coalesce(held.queue_id, counted.queue_id) AS queue_id
FROM (SELECT queue_id, count(*) AS messages, sum(length(body)) AS bytes FROM queue_messages GROUP BY queue_id) held
FULL JOIN (
    SELECT queue_id, sum(messages) AS messages, sum(bytes) AS bytes FROM queue_backlogs GROUP BY queue_id
) counted ON counted.queue_id = held.queue_id
WHERE coalesce(held.messages, 0) <> coalesce(counted.messages, 0)
    OR coalesce(held.bytes, 0) <> coalesce(counted.bytes, 0)
ORDER BY 1

-- :name queues_hold
-- Until the transaction ends nobody sends, leases or settles.
LOCK TABLE queue_messages, queue_backlogs IN SHARE ROW EXCLUSIVE MODE

-- :name queues_forget_count
DELETE FROM queue_backlogs WHERE queue_id = $1

-- :name queues_count
INSERT INTO queue_backlogs
SELECT queue_id, 0, count(*), sum(length(body)) FROM queue_messages WHERE queue_id = $1 GROUP BY queue_id

-- :name d1_held
-- Whether each is older than $1 seconds.
SELECT id, made_at < clock_timestamp() - make_interval(secs => $1) FROM d1_databases

-- :name d1_wrong_pages
-- SQLite never writes the page that its locks are on, the one at 1 GiB.
SELECT d.id, d.pages - (d.pages >= 262145)::integer - count(p.page) FILTER (WHERE p.page <= d.pages)
FROM d1_databases d LEFT JOIN d1_pages p ON p.id = d.id
GROUP BY d.id, d.pages
HAVING count(p.page) FILTER (WHERE p.page <= d.pages) <> d.pages - (d.pages >= 262145)::integer
ORDER BY d.id

-- :name cron_scripts
SELECT namespace, script FROM cron_claims UNION SELECT namespace, script FROM cron_runs

-- :name cron_left_open
SELECT count(*) FROM cron_runs WHERE ended_ms IS NULL AND started_ms < $1

-- :name heads
-- With how many entries there are of those that there should be, and of the newest snapshot's pieces.
SELECT h.file, h.founder, h.seq, h.chain, h.pruned, h.snapshot_seq,
    (SELECT count(*) FROM replication_log l WHERE l.file = h.file AND l.seq > h.pruned AND l.seq <= h.seq),
    (SELECT s.chunks - (
        SELECT count(*) FROM replication_snapshot_chunks c
        WHERE c.file = s.file AND c.seq = s.seq AND c.number < s.chunks
    ) FROM replication_snapshots s WHERE s.file = h.file AND s.seq = h.snapshot_seq)
FROM replication_heads h ORDER BY h.file

-- :name log_chain
SELECT chain FROM replication_log WHERE file = $1 AND seq = $2

-- :name log_page
SELECT seq, kind, payload, chain FROM replication_log WHERE file = $1 AND seq > $2 AND seq <= $3
ORDER BY seq LIMIT $4

-- :name snapshot
SELECT chunks, sha256 FROM replication_snapshots WHERE file = $1 AND seq = $2

-- :name snapshot_piece
SELECT data FROM replication_snapshot_chunks WHERE file = $1 AND seq = $2 AND number = $3

-- :name objects_missing
SELECT wanted FROM unnest($1::text[]) wanted WHERE NOT EXISTS (SELECT 1 FROM objects o WHERE o.digest = wanted)
ORDER BY wanted

-- :name objects_incomplete
SELECT o.digest FROM objects o
LEFT JOIN (
    SELECT digest, count(*) AS chunks, sum(length(data)) AS size FROM object_chunks GROUP BY digest
) held ON held.digest = o.digest
WHERE o.chunks <> coalesce(held.chunks, 0) OR o.size <> coalesce(held.size, 0)
ORDER BY o.digest

-- :name objects_damaged
-- Of a page of them.
SELECT o.digest, encode(sha256(whole.data), 'hex') = o.digest FROM objects o
CROSS JOIN LATERAL (
    SELECT coalesce(string_agg(c.data, ''::bytea ORDER BY c.number), ''::bytea) AS data
    FROM object_chunks c WHERE c.digest = o.digest
) whole
WHERE o.digest > $1 ORDER BY o.digest LIMIT $2
