-- Statements of schedule_records.

-- :name of_script
SELECT g.namespace, g.script, g.cron, g.created_at_ms, s.tenant
FROM schedules g JOIN scripts s ON s.namespace = g.namespace AND s.name = g.script
WHERE g.namespace = ?1 AND g.script = ?2 ORDER BY g.cron

-- :name page
SELECT g.namespace, g.script, g.cron, g.created_at_ms, s.tenant
FROM schedules g JOIN scripts s ON s.namespace = g.namespace AND s.name = g.script
WHERE (g.namespace, g.script, g.cron) > (?1, ?2, ?3) ORDER BY g.namespace, g.script, g.cron LIMIT ?4

-- :name insert
INSERT INTO schedules VALUES (?1, ?2, ?3, ?4)

-- :name delete
DELETE FROM schedules WHERE namespace = ?1 AND script = ?2 AND cron = ?3
