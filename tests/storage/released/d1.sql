-- Statements of d1_records.

-- :name database
SELECT id, name, tenant, namespace, created_at_ms FROM d1_databases WHERE id = ?1

-- :name database_named
SELECT id, name, tenant, namespace, created_at_ms FROM d1_databases WHERE name = ?1

-- :name databases
-- Those whose name holds a text; '' is in every one.
SELECT id, name, tenant, namespace, created_at_ms FROM d1_databases
WHERE instr(name, ?1) > 0 ORDER BY name LIMIT ?2 OFFSET ?3

-- :name count_databases
SELECT count(*) FROM d1_databases WHERE instr(name, ?1) > 0

-- :name insert_database
INSERT INTO d1_databases VALUES (?1, ?2, ?3, ?4, ?5)

-- :name delete_database
DELETE FROM d1_databases WHERE id = ?1
