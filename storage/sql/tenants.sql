-- Statements of tenant_records, tenant_removal and tenant_room. ?1 is the dispatch namespace, ?2 the tenant.

-- :name tenants
-- Whoever owns something, has a policy or quotas of its own, or is being deleted.
SELECT tenant FROM scripts WHERE namespace = ?1
UNION SELECT tenant FROM kv_namespaces WHERE namespace = ?1
UNION SELECT tenant FROM queues WHERE namespace = ?1
UNION SELECT tenant FROM d1_databases WHERE namespace = ?1
UNION SELECT name FROM policy_layers WHERE namespace = ?1 AND layer = 'tenant'
UNION SELECT tenant FROM tenant_quotas WHERE namespace = ?1
UNION SELECT tenant FROM tenant_deletions WHERE namespace = ?1 AND ended_at_ms IS NULL
ORDER BY 1

-- :name counts
SELECT
    (SELECT count(*) FROM scripts WHERE namespace = ?1 AND tenant = ?2),
    (SELECT count(*) FROM scripts s JOIN routes r ON r.target_namespace = s.namespace AND r.target_script = s.name
        WHERE s.namespace = ?1 AND s.tenant = ?2),
    (SELECT count(*) FROM kv_namespaces WHERE namespace = ?1 AND tenant = ?2),
    (SELECT count(*) FROM queues WHERE namespace = ?1 AND tenant = ?2),
    (SELECT count(*) FROM d1_databases WHERE namespace = ?1 AND tenant = ?2)

-- :name count_scripts
SELECT count(*) FROM scripts WHERE namespace = ?1 AND tenant = ?2

-- :name count_routes
SELECT count(*) FROM scripts s JOIN routes r ON r.target_namespace = s.namespace AND r.target_script = s.name
WHERE s.namespace = ?1 AND s.tenant = ?2

-- :name count_kv_namespaces
SELECT count(*) FROM kv_namespaces WHERE namespace = ?1 AND tenant = ?2

-- :name count_queues
SELECT count(*) FROM queues WHERE namespace = ?1 AND tenant = ?2

-- :name count_d1_databases
SELECT count(*) FROM d1_databases WHERE namespace = ?1 AND tenant = ?2

-- :name others
-- What a tenant has that has no quota: secrets, cron triggers, versions of its egress policy.
SELECT
    (SELECT count(*) FROM scripts s JOIN secrets e ON e.namespace = s.namespace AND e.script = s.name
        WHERE s.namespace = ?1 AND s.tenant = ?2),
    (SELECT count(*) FROM scripts s JOIN schedules e ON e.namespace = s.namespace AND e.script = s.name
        WHERE s.namespace = ?1 AND s.tenant = ?2),
    (SELECT count(*) FROM policy_versions WHERE namespace = ?1 AND layer = 'tenant' AND name = ?2)

-- :name resources
SELECT 'kv', id, title FROM kv_namespaces WHERE namespace = ?1 AND tenant = ?2
UNION ALL SELECT 'queue', id, name FROM queues WHERE namespace = ?1 AND tenant = ?2
UNION ALL SELECT 'd1', id, name FROM d1_databases WHERE namespace = ?1 AND tenant = ?2
ORDER BY 1, 2 LIMIT ?3

-- :name scripts
SELECT name FROM scripts WHERE namespace = ?1 AND tenant = ?2 ORDER BY name LIMIT ?3

-- :name kv_owner
SELECT namespace, tenant FROM kv_namespaces WHERE id = ?1

-- :name queue_owner
SELECT namespace, tenant FROM queues WHERE id = ?1

-- :name d1_owner
SELECT namespace, tenant FROM d1_databases WHERE id = ?1

-- :name kv_ids
SELECT id FROM kv_namespaces WHERE namespace = ?1 AND tenant = ?2

-- :name queue_ids
SELECT id FROM queues WHERE namespace = ?1 AND tenant = ?2

-- :name d1_ids
SELECT id FROM d1_databases WHERE namespace = ?1 AND tenant = ?2

-- :name route_owner
SELECT namespace, tenant FROM scripts WHERE namespace = ?1 AND name = ?2

-- :name quotas
-- The host's, then the tenant's own.
SELECT tenant <> '', name, value FROM tenant_quotas
WHERE (namespace = '' AND tenant = '') OR (namespace = ?1 AND tenant = ?2) ORDER BY 1

-- :name clear_quotas
DELETE FROM tenant_quotas WHERE namespace = ?1 AND tenant = ?2

-- :name put_quota
INSERT INTO tenant_quotas VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (namespace, tenant, name) DO UPDATE SET value = excluded.value

-- :name deletion
SELECT began_at_ms, ended_at_ms FROM tenant_deletions WHERE namespace = ?1 AND tenant = ?2

-- :name begin_deletion
INSERT INTO tenant_deletions VALUES (?1, ?2, ?3, NULL)
ON CONFLICT (namespace, tenant) DO UPDATE SET began_at_ms = excluded.began_at_ms, ended_at_ms = NULL
WHERE tenant_deletions.ended_at_ms IS NOT NULL

-- :name end_deletion
UPDATE tenant_deletions SET ended_at_ms = ?3 WHERE namespace = ?1 AND tenant = ?2

-- :name deletions
SELECT namespace, tenant, began_at_ms, ended_at_ms FROM tenant_deletions ORDER BY namespace, tenant

-- :name binders_of_tenant
-- Scripts of others that something of the tenant's is lent to: (namespace, script, binding).
SELECT b.namespace, b.script, b.name FROM script_bindings b
JOIN scripts s ON s.namespace = b.namespace AND s.name = b.script
WHERE NOT (s.namespace = ?1 AND s.tenant = ?2) AND (
    b.target IN (SELECT id FROM kv_namespaces WHERE namespace = ?1 AND tenant = ?2
        UNION ALL SELECT id FROM queues WHERE namespace = ?1 AND tenant = ?2
        UNION ALL SELECT id FROM d1_databases WHERE namespace = ?1 AND tenant = ?2)
    OR (b.kind = 'service' AND b.namespace = ?1
        AND b.target IN (SELECT name FROM scripts WHERE namespace = ?1 AND tenant = ?2)))
ORDER BY 1, 2, 3 LIMIT 10

-- :name consumers_of_tenant
-- Scripts of others that take messages out of the tenant's queues, and queues of others that send it their dead letters.
SELECT 'the consumer of queue ' || q.name || ', script ' || c.script FROM queue_consumers c
JOIN queues q ON q.id = c.queue_id LEFT JOIN scripts s ON s.namespace = c.namespace AND s.name = c.script
WHERE q.namespace = ?1 AND q.tenant = ?2 AND NOT (s.namespace = ?1 AND s.tenant = ?2)
UNION ALL SELECT 'queue ' || o.name || ', whose dead letters come to ' || q.name FROM queue_consumers c
JOIN queues q ON q.id = c.dead_letter_queue_id JOIN queues o ON o.id = c.queue_id
WHERE q.namespace = ?1 AND q.tenant = ?2 AND NOT (o.namespace IS ?1 AND o.tenant IS ?2)
ORDER BY 1 LIMIT 10

-- :name outbound_users
SELECT 'namespace ' || name || ', whose outbound worker is ' || outbound_script FROM namespaces
WHERE outbound_namespace = ?1
    AND outbound_script IN (SELECT name FROM scripts WHERE namespace = ?1 AND tenant = ?2)
ORDER BY 1 LIMIT 10
