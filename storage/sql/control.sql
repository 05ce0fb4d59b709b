-- Statements of control_store, namespace_records, script_records, route_records, resource_records.

-- :name hostname_routes
SELECT record FROM hostname_records WHERE pattern = ?1

-- :name script
SELECT record FROM scripts WHERE namespace = ?1 AND name = ?2

-- :name namespace_settings
SELECT trusted, outbound_namespace, outbound_script, outbound_hook, outbound_params FROM namespaces WHERE name = ?1

-- :name secret
SELECT version, sealed FROM secrets WHERE namespace = ?1 AND script = ?2 AND name = ?3

-- :name consumers
SELECT c.queue_id, q.name, c.namespace, c.script, c.batch_size, c.max_wait_ms, c.max_retries, c.retry_delay_s,
    c.dead_letter_queue_id, c.id, c.created_at_ms, d.name, s.max_concurrency, s.visibility_timeout_ms
FROM queue_consumers c JOIN queues q ON q.id = c.queue_id
LEFT JOIN queues d ON d.id = c.dead_letter_queue_id
LEFT JOIN queue_consumer_settings s ON s.consumer_id = c.id
WHERE (?1 IS NULL OR c.queue_id = ?1)
ORDER BY q.name

-- :name namespaces
SELECT n.id, n.name, n.trusted, n.created_at_ms, n.modified_at_ms,
    (SELECT count(*) FROM scripts s WHERE s.namespace = n.name),
    n.outbound_namespace, n.outbound_script, n.outbound_hook, n.outbound_params
FROM namespaces n WHERE ?1 IS NULL OR n.name = ?1 ORDER BY n.name LIMIT ?2 OFFSET ?3

-- :name namespace_exists
SELECT 1 FROM namespaces WHERE name = ?1

-- :name count_namespaces
SELECT count(*) FROM namespaces

-- :name insert_namespace
INSERT INTO namespaces VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?6, ?7, ?8)

-- :name update_namespace
UPDATE namespaces SET trusted = ?2, modified_at_ms = ?3, outbound_namespace = ?4, outbound_script = ?5,
    outbound_hook = ?6, outbound_params = ?7
WHERE name = ?1

-- :name outbound_workers
-- Those that stand before a namespace, or before any (null).
SELECT outbound_namespace, outbound_script, outbound_hook, NULL FROM namespaces
WHERE coalesce(outbound_script, outbound_hook) IS NOT NULL AND (?1 IS NULL OR name = ?1)
UNION SELECT outbound_namespace, outbound_script, outbound_hook, NULL FROM script_bindings
WHERE coalesce(outbound_script, outbound_hook) IS NOT NULL AND (?1 IS NULL OR target = ?1)

-- :name outbound_users
-- What a script is the outbound worker of, as words.
SELECT 'namespace ' || name FROM namespaces WHERE outbound_namespace = ?1 AND outbound_script = ?2
UNION ALL SELECT 'dispatch binding ' || name || ' of script ' || script FROM script_bindings
WHERE outbound_namespace = ?1 AND outbound_script = ?2 ORDER BY 1 LIMIT 10

-- :name delete_namespace
DELETE FROM namespaces WHERE name = ?1

-- :name scripts_of_namespace
SELECT name FROM scripts WHERE namespace = ?1 ORDER BY name LIMIT ?2

-- :name resources_of_namespace
SELECT 'kv', id, title FROM kv_namespaces WHERE namespace = ?1
UNION ALL SELECT 'queue', id, name FROM queues WHERE namespace = ?1
UNION ALL SELECT 'd1', id, name FROM d1_databases WHERE namespace = ?1

-- :name users_of_target
-- Whoever binds this target.
SELECT namespace, script, name FROM script_bindings WHERE target = ?1 AND kind = ?2 ORDER BY 1, 2, 3 LIMIT 10

-- :name queue_producers
-- The scripts that may send to a queue, for showing; enough of them to see which.
SELECT DISTINCT namespace, script FROM script_bindings WHERE target = ?1 AND kind = 'queue' ORDER BY 1, 2 LIMIT 100

-- :name script_users
-- Whoever reaches a script of this name by a service binding, or has it for a tail consumer.
SELECT b.namespace, b.script, b.name, s.tenant, b.shared, b.kind
FROM script_bindings b JOIN scripts s ON s.namespace = b.namespace AND s.name = b.script
WHERE b.target = ?1 AND b.kind IN ('service', 'tail_consumer') ORDER BY 1, 2, 3

-- :name put_script
INSERT INTO scripts VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (namespace, name) DO UPDATE SET tenant = excluded.tenant, record = excluded.record

-- :name delete_script
DELETE FROM scripts WHERE namespace = ?1 AND name = ?2

-- :name clear_tags
DELETE FROM script_tags WHERE namespace = ?1 AND script = ?2

-- :name insert_tag
INSERT INTO script_tags VALUES (?1, ?2, ?3)

-- :name clear_bindings
DELETE FROM script_bindings WHERE namespace = ?1 AND script = ?2

-- :name insert_binding
INSERT INTO script_bindings VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)

-- :name shared_bindings
SELECT name FROM script_bindings WHERE namespace = ?1 AND script = ?2 AND shared

-- :name put_secret
INSERT INTO secrets VALUES (?1, ?2, ?3, ?4, ?5, ?6)
ON CONFLICT (namespace, script, name) DO UPDATE SET
    version = excluded.version, sealed = excluded.sealed, modified_at_ms = excluded.modified_at_ms

-- :name secret_names
SELECT name FROM secrets WHERE namespace = ?1 AND script = ?2 ORDER BY name

-- :name delete_secret
DELETE FROM secrets WHERE namespace = ?1 AND script = ?2 AND name = ?3

-- :name routes
SELECT id, pattern, path_prefix, headers, target_namespace, target_script, target_hook, created_at_ms
FROM routes ORDER BY pattern, path_prefix DESC, headers, id LIMIT ?1 OFFSET ?2

-- :name routes_of_pattern
-- A statement of its own: with an optional condition SQLite reads the whole table.
SELECT id, pattern, path_prefix, headers, target_namespace, target_script, target_hook, created_at_ms
FROM routes WHERE pattern = ?1 ORDER BY path_prefix DESC, headers, id LIMIT ?2 OFFSET ?3

-- :name count_routes
SELECT count(*) FROM routes

-- :name count_routes_of_pattern
SELECT count(*) FROM routes WHERE pattern = ?1

-- :name route
SELECT id, pattern, path_prefix, headers, target_namespace, target_script, target_hook, created_at_ms
FROM routes WHERE id = ?1

-- :name put_route
INSERT INTO routes VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
ON CONFLICT (id) DO UPDATE SET
    pattern = excluded.pattern, path_prefix = excluded.path_prefix, headers = excluded.headers,
    target_namespace = excluded.target_namespace, target_script = excluded.target_script,
    target_hook = excluded.target_hook

-- :name delete_route
DELETE FROM routes WHERE id = ?1

-- :name routes_of_script
SELECT id, pattern, path_prefix FROM routes
WHERE target_namespace = ?1 AND target_script = ?2 ORDER BY pattern, path_prefix LIMIT ?3

-- :name header_routes_of_pattern
SELECT id FROM routes WHERE pattern = ?1 AND headers <> '[]' ORDER BY id

-- :name hostname
SELECT header_routes, modified_at_ms FROM hostnames WHERE pattern = ?1

-- :name put_hostname
INSERT INTO hostnames VALUES (?1, ?2, ?3)
ON CONFLICT (pattern) DO UPDATE SET
    header_routes = excluded.header_routes, modified_at_ms = excluded.modified_at_ms

-- :name delete_hostname
DELETE FROM hostnames WHERE pattern = ?1

-- :name put_hostname_record
INSERT INTO hostname_records VALUES (?1, ?2)
ON CONFLICT (pattern) DO UPDATE SET record = excluded.record

-- :name delete_hostname_record
DELETE FROM hostname_records WHERE pattern = ?1

-- :name kv_namespace
SELECT id, title, tenant, namespace, created_at_ms FROM kv_namespaces WHERE id = ?1

-- :name kv_title
SELECT id FROM kv_namespaces WHERE title = ?1

-- :name count_kv_namespaces
SELECT count(*) FROM kv_namespaces

-- :name insert_kv_namespace
INSERT INTO kv_namespaces VALUES (?1, ?2, ?3, ?4, ?5)

-- :name rename_kv_namespace
UPDATE kv_namespaces SET title = ?2 WHERE id = ?1

-- :name delete_kv_namespace
DELETE FROM kv_namespaces WHERE id = ?1

-- :name kv_by_title
SELECT id, title, tenant, namespace, created_at_ms FROM kv_namespaces ORDER BY title LIMIT ?1 OFFSET ?2

-- :name kv_by_title_desc
SELECT id, title, tenant, namespace, created_at_ms FROM kv_namespaces ORDER BY title DESC LIMIT ?1 OFFSET ?2

-- :name kv_by_id
SELECT id, title, tenant, namespace, created_at_ms FROM kv_namespaces ORDER BY id LIMIT ?1 OFFSET ?2

-- :name kv_by_id_desc
SELECT id, title, tenant, namespace, created_at_ms FROM kv_namespaces ORDER BY id DESC LIMIT ?1 OFFSET ?2

-- :name queue
SELECT id, name, tenant, namespace, created_at_ms, modified_at_ms FROM queues WHERE id = ?1

-- :name queue_named
SELECT id, name, tenant, namespace, created_at_ms, modified_at_ms FROM queues WHERE name = ?1

-- :name queues
SELECT id, name, tenant, namespace, created_at_ms, modified_at_ms FROM queues ORDER BY name LIMIT ?1 OFFSET ?2

-- :name count_queues
SELECT count(*) FROM queues

-- :name insert_queue
INSERT INTO queues VALUES (?1, ?2, ?3, ?4, ?5, ?5)

-- :name rename_queue
UPDATE queues SET name = ?2, modified_at_ms = ?3 WHERE id = ?1

-- :name delete_queue
DELETE FROM queues WHERE id = ?1

-- :name consumer
SELECT queue_id FROM queue_consumers WHERE id = ?1

-- :name put_consumer
INSERT INTO queue_consumers VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
ON CONFLICT (id) DO UPDATE SET
    namespace = excluded.namespace, script = excluded.script, batch_size = excluded.batch_size,
    max_wait_ms = excluded.max_wait_ms, max_retries = excluded.max_retries,
    retry_delay_s = excluded.retry_delay_s, dead_letter_queue_id = excluded.dead_letter_queue_id

-- :name put_consumer_settings
INSERT INTO queue_consumer_settings VALUES (?1, ?2, ?3)
ON CONFLICT (consumer_id) DO UPDATE SET
    max_concurrency = excluded.max_concurrency, visibility_timeout_ms = excluded.visibility_timeout_ms

-- :name delete_consumer
DELETE FROM queue_consumers WHERE id = ?1

-- :name consumers_of_script
SELECT c.id, c.queue_id, q.name FROM queue_consumers c JOIN queues q ON q.id = c.queue_id
WHERE c.namespace = ?1 AND c.script = ?2

-- :name dead_letter_users
SELECT c.id, q.name, q.id FROM queue_consumers c JOIN queues q ON q.id = c.queue_id
WHERE c.dead_letter_queue_id = ?1

-- :name insert_pending_deletion
INSERT INTO pending_deletions VALUES (?1, ?2) ON CONFLICT DO NOTHING

-- :name pending_deletions
SELECT kind, id FROM pending_deletions

-- :name forget_pending_deletion
DELETE FROM pending_deletions WHERE kind = ?1 AND id = ?2
