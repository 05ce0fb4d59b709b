-- Statements of analytics_store. ?1 is a dispatch namespace, ?2 a tenant; both '' for the account.

-- :name dataset
SELECT id, last FROM datasets WHERE namespace = ?1 AND tenant = ?2 AND name = ?3

-- :name datasets_of_owner
SELECT id FROM datasets WHERE namespace = ?1 AND tenant = ?2

-- :name count_of_owner
SELECT count(*) FROM datasets WHERE namespace = ?1 AND tenant = ?2

-- :name make_dataset
INSERT INTO datasets (namespace, tenant, name, made_at_ms) VALUES (?1, ?2, ?3, ?4) RETURNING id, last

-- :name grow
UPDATE datasets SET points = points + ?2, bytes = bytes + ?3, last = max(last, ?4) WHERE id = ?1

-- :name page
-- ?1 and ?2 null: any.
SELECT d.namespace, d.tenant, d.name, d.points, d.bytes, d.made_at_ms,
    (SELECT min(p.timestamp) FROM points p WHERE p.dataset_id = d.id),
    (SELECT max(p.timestamp) FROM points p WHERE p.dataset_id = d.id)
FROM datasets d WHERE (?1 IS NULL OR d.namespace = ?1) AND (?2 IS NULL OR d.tenant = ?2)
ORDER BY d.namespace, d.tenant, d.name LIMIT ?3 OFFSET ?4

-- :name count
SELECT count(*) FROM datasets d WHERE (?1 IS NULL OR d.namespace = ?1) AND (?2 IS NULL OR d.tenant = ?2)

-- :name names
SELECT DISTINCT name FROM datasets WHERE namespace = ?1 AND (?2 IS NULL OR tenant = ?2) ORDER BY name LIMIT ?3

-- :name owners
-- With the oldest dataset of each.
SELECT namespace, tenant, min(made_at_ms) FROM datasets WHERE namespace <> '' GROUP BY namespace, tenant

-- :name with_older
SELECT d.id FROM datasets d WHERE EXISTS (SELECT 1 FROM points p WHERE p.dataset_id = d.id AND p.timestamp < ?1)

-- :name largest
-- The largest dataset of who holds the most.
SELECT id FROM datasets WHERE (namespace, tenant) = (
    SELECT namespace, tenant FROM datasets GROUP BY namespace, tenant ORDER BY sum(bytes) DESC LIMIT 1
) ORDER BY bytes DESC LIMIT 1

-- :name remove_older
-- ?1 is a dataset's id.
DELETE FROM points WHERE id IN (
    SELECT id FROM points WHERE dataset_id = ?1 AND timestamp < ?2 ORDER BY timestamp, id LIMIT ?3
) RETURNING size

-- :name remove_empty
DELETE FROM datasets WHERE NOT EXISTS (SELECT 1 FROM points p WHERE p.dataset_id = datasets.id)
