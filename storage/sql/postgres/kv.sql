-- Statements of storage/postgres/kv_*.py. `now` is UNIX seconds.

-- :name get_each
-- For each pair its row, if there is one; the value only up to $4 bytes.
SELECT wanted.at, CASE WHEN e.size <= $4 THEN e.value END, e.metadata, e.expiration
FROM unnest($1::text[], $2::bytea[]) WITH ORDINALITY AS wanted (namespace_id, key, at)
CROSS JOIN LATERAL (
    SELECT value, metadata, expiration, size FROM kv_entries
    WHERE namespace_id = wanted.namespace_id AND key = wanted.key
        AND (expiration IS NULL OR expiration > $3::float8)
) e

-- :name get
SELECT value, metadata, expiration, size, value_id
FROM kv_entries
WHERE namespace_id = $1 AND key = $2 AND (expiration IS NULL OR expiration > $3::float8)

-- :name chunk
SELECT data FROM kv_chunks WHERE value_id = $1 AND number = $2

-- :name sizes
SELECT coalesce(sum(size), 0), count(*)
FROM kv_entries
WHERE namespace_id = $1 AND key = ANY($2::bytea[]) AND (expiration IS NULL OR expiration > $3::float8)

-- :name get_many
-- Nothing when the values have grown beyond $4 since they were asked for: then it is asked again.
WITH found AS (
    SELECT key, value, metadata, expiration, size, value_id
    FROM kv_entries
    WHERE namespace_id = $1 AND key = ANY($2::bytea[]) AND (expiration IS NULL OR expiration > $3::float8)
)
SELECT key, value, metadata, expiration, size, value_id FROM found
WHERE (SELECT coalesce(sum(size), 0) FROM found) <= $4

-- :name share_namespaces
-- Shared among writers; who deletes a namespace takes the lock alone, so no write slips past its burial.
SELECT pg_advisory_xact_lock_shared(turn) FROM unnest($1::bigint[]) turn

-- :name bury_turn
SELECT pg_advisory_xact_lock($1)

-- :name deleted_of
SELECT namespace_id FROM kv_deleted_namespaces WHERE namespace_id = ANY($1::text[])

-- :name put
-- In the order given, which is the keys' own: two processes that write the same keys wait, and never for
-- each other.
INSERT INTO kv_entries (namespace_id, key, expiration, metadata, size, value, value_id)
SELECT * FROM unnest($1::text[], $2::bytea[], $3::bigint[], $4::text[], $5::integer[], $6::bytea[], $7::uuid[])
ON CONFLICT (namespace_id, key) DO UPDATE SET
    expiration = excluded.expiration,
    metadata = excluded.metadata,
    size = excluded.size,
    value = excluded.value,
    value_id = excluded.value_id

-- :name add_chunk
INSERT INTO kv_chunks (value_id, number, data) VALUES ($1, $2, $3)

-- :name lock
SELECT 1 FROM unnest($1::text[], $2::bytea[]) AS wanted (namespace_id, key)
CROSS JOIN LATERAL (
    SELECT 1 FROM kv_entries e
    WHERE e.namespace_id = wanted.namespace_id AND e.key = wanted.key FOR UPDATE
) held

-- :name delete
DELETE FROM kv_entries e USING unnest($1::text[], $2::bytea[]) AS gone (namespace_id, key)
WHERE e.namespace_id = gone.namespace_id AND e.key = gone.key

-- :name hold
-- As `get`, for a read that a write depends on.
SELECT value, metadata, expiration, size, value_id, (expiration IS NULL OR expiration > $3::float8) AS alive
FROM kv_entries WHERE namespace_id = $1 AND key = $2 FOR UPDATE

-- :name claim
INSERT INTO kv_entries (namespace_id, key, size, value) VALUES ($1, $2, 0, '') ON CONFLICT DO NOTHING

-- :name log_changes
INSERT INTO kv_changes (namespace_id, key) SELECT * FROM unnest($1::text[], $2::bytea[])

-- :name log_burial
INSERT INTO kv_changes (namespace_id) VALUES ($1)

-- :name changes
-- And, in each row, the horizon: transactions below it are over, and what they changed was there to be seen.
-- Who asks the next time from there on passes nothing over, and sees some of it twice.
SELECT pg_snapshot_xmin(pg_current_snapshot())::text, changed.namespace_id, changed.key, changed.txid::text
FROM (SELECT) one LEFT JOIN LATERAL (
    SELECT namespace_id, key, txid FROM kv_changes WHERE txid >= $1::text::xid8 ORDER BY txid LIMIT $2
) changed ON true

-- :name prune_changes
DELETE FROM kv_changes WHERE ctid IN (
    SELECT ctid FROM (SELECT ctid, at FROM kv_changes ORDER BY txid LIMIT $2) oldest
    WHERE at < now() - $1::float8 * interval '1 second'
)

-- :name list
-- After $2 (inclusive when $5), below $3.
SELECT key, metadata, expiration
FROM kv_entries
WHERE namespace_id = $1 AND key >= $2 AND key < $3 AND ($5 OR key > $2)
    AND (expiration IS NULL OR expiration > $4::float8)
ORDER BY key
LIMIT $6

-- :name sweep
DELETE FROM kv_entries WHERE ctid IN (
    SELECT ctid FROM kv_entries
    WHERE expiration IS NOT NULL AND expiration <= $1 ORDER BY expiration LIMIT $2
    FOR UPDATE SKIP LOCKED
)

-- :name bury_namespace
INSERT INTO kv_deleted_namespaces VALUES ($1) ON CONFLICT DO NOTHING

-- :name delete_some_of_namespace
DELETE FROM kv_entries WHERE ctid IN (
    SELECT ctid FROM kv_entries WHERE namespace_id = $1 ORDER BY key LIMIT $2 FOR UPDATE
)

-- :name usage
SELECT count(*), coalesce(sum(size), 0) FROM kv_entries WHERE namespace_id = $1

-- :name cursor_key
SELECT key FROM kv_cursor_key
