-- Statements of storage/kv_store.py. `now` is UNIX seconds.

-- :name get
-- The value only when it is small enough for the loop's thread; CASE reads nothing it does not need.
SELECT CASE WHEN size <= ?3 THEN value END, metadata, expiration
FROM kv_entries
WHERE namespace_id = ?1 AND key = ?2 AND (expiration IS NULL OR expiration > ?4)

-- :name get_whole
SELECT value, metadata, expiration
FROM kv_entries
WHERE namespace_id = ?1 AND key = ?2 AND (expiration IS NULL OR expiration > ?3)

-- :name put
INSERT INTO kv_entries (namespace_id, key, expiration, metadata, size, value)
SELECT ?1, ?2, ?3, ?4, ?5, ?6
WHERE NOT EXISTS (SELECT 1 FROM kv_deleted_namespaces WHERE namespace_id = ?1)
ON CONFLICT (namespace_id, key) DO UPDATE SET
    expiration = excluded.expiration,
    metadata = excluded.metadata,
    size = excluded.size,
    value = excluded.value

-- :name delete
DELETE FROM kv_entries WHERE namespace_id = ?1 AND key = ?2

-- :name list
-- After ?2 (inclusive when ?5), below ?3.
SELECT key, metadata, expiration
FROM kv_entries
WHERE namespace_id = ?1 AND key >= ?2 AND key < ?3 AND (?5 OR key > ?2)
    AND (expiration IS NULL OR expiration > ?4)
ORDER BY key
LIMIT ?6

-- :name sweep
DELETE FROM kv_entries WHERE (namespace_id, key) IN (
    SELECT namespace_id, key FROM kv_entries
    WHERE expiration IS NOT NULL AND expiration <= ?1 ORDER BY expiration LIMIT ?2
)

-- :name bury_namespace
INSERT INTO kv_deleted_namespaces VALUES (?1) ON CONFLICT DO NOTHING

-- :name delete_some_of_namespace
DELETE FROM kv_entries WHERE namespace_id = ?1 AND key IN (
    SELECT key FROM kv_entries WHERE namespace_id = ?1 LIMIT ?2
)

-- :name usage
SELECT count(*), coalesce(sum(size), 0) FROM kv_entries WHERE namespace_id = ?1

-- :name cursor_key
SELECT key FROM kv_cursor_key
