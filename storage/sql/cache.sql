-- Statements of cache_store.

-- :name find
-- Not those from before ?4: they were somebody else's.
SELECT record FROM cache_entries WHERE owner = ?1 AND cache = ?2 AND url = ?3 AND stored_at_s >= ?4
ORDER BY stored_at_s DESC LIMIT ?5

-- :name body
SELECT body FROM cache_entries WHERE id = ?1

-- :name replace
DELETE FROM cache_entries WHERE owner = ?1 AND cache = ?2 AND url = ?3 AND varied = ?4

-- :name insert
INSERT INTO cache_entries (id, owner, cache, url, record, varied, stored_at_s, size, body)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)

-- :name too_many
DELETE FROM cache_entries WHERE owner = ?1 AND cache = ?2 AND url = ?3 AND id NOT IN (
    SELECT id FROM cache_entries WHERE owner = ?1 AND cache = ?2 AND url = ?3 ORDER BY stored_at_s DESC LIMIT ?4
)

-- :name held
SELECT entries, bytes FROM cache_totals WHERE owner = ?1

-- :name oldest_of
DELETE FROM cache_entries WHERE id IN (SELECT id FROM cache_entries WHERE owner = ?1 ORDER BY stored_at_s LIMIT ?2)

-- :name largest
-- Who holds most gives way: nobody's cache is emptied by what another one keeps.
SELECT owner FROM cache_totals WHERE owner <> '' ORDER BY bytes DESC LIMIT 1

-- :name tenants
-- Of namespaces, with the oldest that each has; the account's own scripts have none.
SELECT owner, (SELECT min(stored_at_s) FROM cache_entries e WHERE e.owner = t.owner)
FROM cache_totals t WHERE owner NOT LIKE '/%' AND owner <> ''

-- :name delete
DELETE FROM cache_entries WHERE owner = ?1 AND cache = ?2 AND url = ?3 AND stored_at_s >= ?4

-- :name delete_before
DELETE FROM cache_entries WHERE owner = ?1 AND cache = ?2 AND url = ?3

-- :name sweep
DELETE FROM cache_entries WHERE id IN (SELECT id FROM cache_entries WHERE stored_at_s < ?1 ORDER BY stored_at_s LIMIT ?2)
