-- Statements of storage/postgres/cron_store.py.

-- :name claimed
SELECT namespace, script, cron, due_ms FROM cron_claims

-- :name begun
-- Of these ids, those that are there: the transaction before was committed after all.
SELECT id, missed, started_ms FROM cron_runs WHERE id = ANY($1::text[])

-- :name claim
-- In the order given, which is the keys' own: two machines that claim the same wait, and never for each other. What
-- somebody has already is left out.
INSERT INTO cron_claims AS c
SELECT *, 0 FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[])
ON CONFLICT (namespace, script, cron) DO UPDATE SET previous_ms = c.due_ms, due_ms = excluded.due_ms
WHERE c.due_ms < excluded.due_ms
RETURNING namespace, script, cron, previous_ms

-- :name begin
INSERT INTO cron_runs (id, namespace, script, cron, due_ms, missed, started_ms, machine)
SELECT *, $7::bigint, $8::text
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[])

-- :name prune
DELETE FROM cron_runs r USING unnest($1::text[], $2::text[]) AS of_script (namespace, script)
WHERE r.namespace = of_script.namespace AND r.script = of_script.script AND r.ended_ms IS NOT NULL AND r.started_ms < (
    SELECT started_ms FROM cron_runs o WHERE o.namespace = r.namespace AND o.script = r.script
    ORDER BY started_ms DESC LIMIT 1 OFFSET $3
)

-- :name end
UPDATE cron_runs SET ended_ms = $2, outcome = $3, error = $4, cpu_us = $5 WHERE id = $1 AND ended_ms IS NULL

-- :name abandon
UPDATE cron_runs SET ended_ms = $1, outcome = $2, error = $3
WHERE ended_ms IS NULL AND (machine = $4 OR started_ms < $5)

-- :name runs
SELECT id, cron, due_ms, started_ms, missed, machine, ended_ms, outcome, error, cpu_us FROM cron_runs
WHERE namespace = $1 AND script = $2 AND ($3::text IS NULL OR cron = $3) ORDER BY started_ms DESC, id DESC LIMIT $4

-- :name scripts
SELECT namespace, script FROM cron_claims WHERE (namespace, script) > ($1, $2)
UNION SELECT namespace, script FROM cron_runs WHERE (namespace, script) > ($1, $2)
ORDER BY 1, 2 LIMIT $3

-- :name forget_claims
DELETE FROM cron_claims WHERE namespace = $1 AND script = $2 AND ($3::text[] IS NULL OR cron <> ALL($3))

-- :name forget_runs
DELETE FROM cron_runs WHERE namespace = $1 AND script = $2

-- :name sweep
DELETE FROM cron_runs WHERE id IN (
    SELECT id FROM cron_runs WHERE started_ms < $1 AND ended_ms IS NOT NULL ORDER BY started_ms LIMIT $2
)
