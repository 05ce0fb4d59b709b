-- :name found_platform
INSERT INTO replication_platform VALUES (1, $1, $2) ON CONFLICT DO NOTHING;

-- :name platform
SELECT id, root_key_id FROM replication_platform;

-- :name change_root_key
UPDATE replication_platform SET root_key_id = $2 WHERE root_key_id = $1;

-- :name head
SELECT founder, seq, chain, pruned, snapshot_seq FROM replication_heads WHERE file = $1;

-- :name take_turn
SELECT founder, seq, chain, pruned, snapshot_seq FROM replication_heads WHERE file = $1 FOR UPDATE;

-- :name found_file
INSERT INTO replication_heads VALUES ($1, $2, 0, $3, 0, 0) ON CONFLICT DO NOTHING RETURNING file;

-- :name entries
SELECT seq, kind, payload, chain, batch, machine, at_ms FROM replication_log
WHERE file = $1 AND seq > $2 ORDER BY seq LIMIT $3;

-- :name append
INSERT INTO replication_log VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- :name move_head
UPDATE replication_heads SET seq = $2, chain = $3 WHERE file = $1 AND seq = $2 - 1;

-- :name has_batch
SELECT 1 FROM replication_log WHERE file = $1 AND batch = $2;

-- :name snapshot_turn
-- One machine at a time makes a snapshot; the others find that it was made.
SELECT pg_try_advisory_xact_lock(hashtext('tenantry snapshot ' || $1));

-- :name add_snapshot
INSERT INTO replication_snapshots VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING;

-- :name add_snapshot_chunk
INSERT INTO replication_snapshot_chunks VALUES ($1, $2, $3, $4);

-- :name newest_snapshot
SELECT seq, chunks, sha256 FROM replication_snapshots WHERE file = $1 ORDER BY seq DESC LIMIT 1;

-- :name snapshot_chunk
SELECT data FROM replication_snapshot_chunks WHERE file = $1 AND seq = $2 AND number = $3;

-- :name note_snapshot
-- The log stays from the snapshot before this one on.
UPDATE replication_heads SET pruned = snapshot_seq, snapshot_seq = $2
WHERE file = $1 AND snapshot_seq < $2 RETURNING pruned;

-- :name prune_log
DELETE FROM replication_log WHERE file = $1 AND seq <= $2;

-- :name prune_snapshots
DELETE FROM replication_snapshots WHERE file = $1 AND seq < $2;

-- :name say_machine
INSERT INTO replication_machines (machine, file, seq, name, seen_at, keys) VALUES ($1, $2, $3, $4, now(), $5)
ON CONFLICT (machine, file) DO UPDATE SET seq = $3, name = $4, seen_at = now(), keys = $5;

-- :name machines
SELECT machine, file, m.seq, name, extract(epoch FROM now() - seen_at)::float8, h.seq, keys
FROM replication_machines m JOIN replication_heads h USING (file)
ORDER BY machine, file;

-- :name put_object
-- One that is there becomes as young as a new one.
INSERT INTO objects VALUES ($1, $2, $3, now()) ON CONFLICT (digest) DO UPDATE SET put_at = now()
RETURNING xmax = 0;

-- :name put_object_chunk
INSERT INTO object_chunks VALUES ($1, $2, $3);

-- :name object
SELECT size, chunks FROM objects WHERE digest = $1;

-- :name object_chunk
SELECT data FROM object_chunks WHERE digest = $1 AND number = $2;

-- :name object_digests
SELECT digest FROM objects WHERE digest > $1 ORDER BY digest LIMIT $2;

-- :name remove_stale_object
DELETE FROM objects WHERE digest = $1 AND put_at < now() - make_interval(secs => $2) RETURNING size;
