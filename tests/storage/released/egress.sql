-- Statements of policy_records and material_records.

-- :name layer
SELECT v.version, v.text, v.digest, v.widen, v.author_id, v.author_name, v.message, v.at_ms
FROM policy_layers l JOIN policy_versions v
    ON v.namespace = l.namespace AND v.layer = l.layer AND v.name = l.name AND v.version = l.version
WHERE l.namespace = ?1 AND l.layer = ?2 AND l.name = ?3

-- :name version_in_force
SELECT version FROM policy_layers WHERE namespace = ?1 AND layer = ?2 AND name = ?3

-- :name layers_of_call
-- What holds for a tenant's script with these tags (a JSON array): point reads, three and one a tag.
SELECT layer, name, version, digest, widen FROM policy_layers
    WHERE namespace = ?1 AND layer = 'namespace' AND name = ''
UNION ALL SELECT l.layer, l.name, l.version, l.digest, l.widen
    FROM json_each(?3) t CROSS JOIN policy_layers l
    WHERE l.namespace = ?1 AND l.layer = 'tag' AND l.name = t.value
UNION ALL SELECT layer, name, version, digest, widen FROM policy_layers
    WHERE namespace = ?1 AND layer = 'tenant' AND name = ?2

-- :name layers
SELECT l.layer, l.name, v.version, v.digest, v.widen, v.author_id, v.author_name, v.message, v.at_ms
FROM policy_layers l JOIN policy_versions v
    ON v.namespace = l.namespace AND v.layer = l.layer AND v.name = l.name AND v.version = l.version
WHERE l.namespace = ?1 ORDER BY l.layer, l.name LIMIT ?2 OFFSET ?3

-- :name count_layers
SELECT count(*) FROM policy_layers WHERE namespace = ?1

-- :name text
SELECT text FROM policy_versions WHERE namespace = ?1 AND layer = ?2 AND name = ?3 AND version = ?4

-- :name version
SELECT version, text, digest, widen, author_id, author_name, message, at_ms
FROM policy_versions WHERE namespace = ?1 AND layer = ?2 AND name = ?3 AND version = ?4

-- :name versions
-- Newest first, without their texts; the second column says whether there is one.
SELECT version, CASE WHEN text IS NULL THEN NULL ELSE '' END, digest, widen, author_id, author_name, message, at_ms
FROM policy_versions WHERE namespace = ?1 AND layer = ?2 AND name = ?3
ORDER BY version DESC LIMIT ?4 OFFSET ?5

-- :name count_versions
SELECT count(*) FROM policy_versions WHERE namespace = ?1 AND layer = ?2 AND name = ?3

-- :name insert_version
INSERT INTO policy_versions VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)

-- :name prune_versions
-- All from the newest on that is one too many, or whose text is too much with those after it.
DELETE FROM policy_versions WHERE namespace = ?1 AND layer = ?2 AND name = ?3 AND version <= (
    SELECT max(version) FROM (
        SELECT version, row_number() OVER newer AS nth, sum(octet_length(text)) OVER newer AS held
        FROM policy_versions WHERE namespace = ?1 AND layer = ?2 AND name = ?3
        WINDOW newer AS (ORDER BY version DESC))
    WHERE nth > ?4 OR held > ?5)

-- :name put_layer
INSERT INTO policy_layers VALUES (?1, ?2, ?3, ?4, ?5, ?6)
ON CONFLICT (namespace, layer, name) DO UPDATE SET
    version = excluded.version, digest = excluded.digest, widen = excluded.widen

-- :name delete_layer
DELETE FROM policy_layers WHERE namespace = ?1 AND layer = ?2 AND name = ?3

-- :name clear_layer_materials
DELETE FROM policy_materials WHERE namespace = ?1 AND layer = ?2 AND name = ?3

-- :name insert_layer_material
INSERT INTO policy_materials VALUES (?1, ?2, ?3, ?4)

-- :name material_users
SELECT layer, name FROM policy_materials WHERE namespace = ?1 AND material = ?2 ORDER BY layer, name LIMIT 10

-- :name material
SELECT name, kind, version, shown, author_id, author_name, created_at_ms, modified_at_ms
FROM egress_materials WHERE namespace = ?1 AND name = ?2

-- :name materials
SELECT name, kind, version, shown, author_id, author_name, created_at_ms, modified_at_ms
FROM egress_materials WHERE namespace = ?1 ORDER BY name LIMIT ?2 OFFSET ?3

-- :name count_materials
SELECT count(*) FROM egress_materials WHERE namespace = ?1

-- :name material_kinds
SELECT name, kind FROM egress_materials WHERE namespace = ?1 AND name IN (SELECT value FROM json_each(?2))

-- :name put_material
INSERT INTO egress_materials VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9)
ON CONFLICT (namespace, name) DO UPDATE SET
    kind = excluded.kind, version = excluded.version, sealed = excluded.sealed, shown = excluded.shown,
    author_id = excluded.author_id, author_name = excluded.author_name, modified_at_ms = excluded.modified_at_ms

-- :name delete_material
DELETE FROM egress_materials WHERE namespace = ?1 AND name = ?2

-- :name sealed_material
SELECT kind, version, sealed FROM egress_materials WHERE namespace = ?1 AND name = ?2

-- :name material_version
SELECT version FROM egress_materials WHERE namespace = ?1 AND name = ?2
