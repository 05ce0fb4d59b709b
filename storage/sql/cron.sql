-- Statements of cron_store.

-- :name claimed
SELECT namespace, script, cron, due_ms FROM cron_claims

-- :name claim
-- No row: somebody has it.
INSERT INTO cron_claims VALUES (?1, ?2, ?3, ?4, 0)
ON CONFLICT (namespace, script, cron) DO UPDATE SET previous_ms = cron_claims.due_ms, due_ms = excluded.due_ms
WHERE cron_claims.due_ms < excluded.due_ms
RETURNING previous_ms

-- :name begin
INSERT INTO cron_runs (id, namespace, script, cron, due_ms, started_ms, missed, machine)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)

-- :name prune
DELETE FROM cron_runs WHERE namespace = ?1 AND script = ?2 AND ended_ms IS NOT NULL AND started_ms < (
    SELECT started_ms FROM cron_runs WHERE namespace = ?1 AND script = ?2 ORDER BY started_ms DESC LIMIT 1 OFFSET ?3
)

-- :name end
UPDATE cron_runs SET ended_ms = ?2, outcome = ?3, error = ?4, cpu_us = ?5 WHERE id = ?1 AND ended_ms IS NULL

-- :name abandon
UPDATE cron_runs SET ended_ms = ?1, outcome = ?2, error = ?3
WHERE ended_ms IS NULL AND (machine = ?4 OR started_ms < ?5)

-- :name runs
SELECT id, cron, due_ms, started_ms, missed, machine, ended_ms, outcome, error, cpu_us FROM cron_runs
WHERE namespace = ?1 AND script = ?2 AND (?3 IS NULL OR cron = ?3) ORDER BY started_ms DESC, id DESC LIMIT ?4

-- :name scripts
SELECT namespace, script FROM cron_claims WHERE (namespace, script) > (?1, ?2)
UNION SELECT namespace, script FROM cron_runs WHERE (namespace, script) > (?1, ?2)
ORDER BY 1, 2 LIMIT ?3

-- :name claims_of_script
SELECT cron FROM cron_claims WHERE namespace = ?1 AND script = ?2

-- :name delete_claim
DELETE FROM cron_claims WHERE namespace = ?1 AND script = ?2 AND cron = ?3

-- :name delete_runs
DELETE FROM cron_runs WHERE namespace = ?1 AND script = ?2

-- :name sweep
DELETE FROM cron_runs WHERE id IN (
    SELECT id FROM cron_runs WHERE started_ms < ?1 AND ended_ms IS NOT NULL ORDER BY started_ms LIMIT ?2
)
