-- :name create
INSERT INTO d1_databases (id, seq, tag, pages) VALUES ($1, $2, $3, 0) ON CONFLICT DO NOTHING;

-- :name head
SELECT owner, epoch, seq, tag, pages FROM d1_databases WHERE id = $1;

-- :name take
-- Its owner's own again, or nobody's: given back (then first of all for who asked for it), or its time is over.
UPDATE d1_databases
SET owner = $2, epoch = epoch + 1, ends_at = clock_timestamp() + make_interval(secs => $3),
    wanted_by = NULL, wanted_at = NULL
WHERE id = $1 AND (
    owner = $2
    OR owner IS NULL AND (wanted_by IS NULL OR wanted_by = $2 OR wanted_at < clock_timestamp() - interval '1 second')
    OR ends_at < clock_timestamp())
RETURNING epoch, seq, tag, pages;

-- :name want
UPDATE d1_databases SET wanted_by = $2, wanted_at = clock_timestamp()
WHERE id = $1 AND owner <> $2
    AND (wanted_by IS NULL OR wanted_by = $2 OR wanted_at < clock_timestamp() - interval '1 second')
RETURNING owner;

-- :name wanted
SELECT id, epoch FROM d1_databases WHERE owner = $1 AND wanted_by IS NOT NULL;

-- :name renew
UPDATE d1_databases SET ends_at = clock_timestamp() + make_interval(secs => $3)
WHERE id = $1 AND epoch = $2 RETURNING 1;

-- :name release
UPDATE d1_databases SET owner = NULL, ends_at = '-infinity' WHERE id = $1 AND epoch = $2;

-- :name tag_seq
SELECT seq FROM d1_tags WHERE id = $1 AND tag = $2;

-- :name prune_tags
DELETE FROM d1_tags WHERE id = $1 AND epoch < $2;

-- :name write
-- A small write, whole: $3 the write before it, $4 its own number. One row when it was kept; none: no longer ours.
WITH head AS (
    UPDATE d1_databases SET seq = $4, tag = $5, pages = $6, ends_at = clock_timestamp() + make_interval(secs => $7)
    WHERE id = $1 AND epoch = $2 AND seq = $3 RETURNING 1
), tagged AS (
    INSERT INTO d1_tags SELECT $1, $5, $2, $4 FROM head ON CONFLICT (id, tag) DO UPDATE SET seq = $4
), put AS (
    INSERT INTO d1_pages SELECT $1, page, $4, data FROM head, unnest($8::integer[], $9::bytea[]) AS given (page, data)
    ON CONFLICT (id, page) DO UPDATE SET seq = excluded.seq, data = excluded.data
)
SELECT count(*) FROM head;

-- :name write_pages
INSERT INTO d1_pages SELECT $1, page, $2, data FROM unnest($3::integer[], $4::bytea[]) AS given (page, data)
ON CONFLICT (id, page) DO UPDATE SET seq = excluded.seq, data = excluded.data;

-- :name cut_pages
DELETE FROM d1_pages WHERE id = $1 AND page > $2;

-- :name read_pages
SELECT page, data FROM d1_pages WHERE id = $1 AND seq > $2 AND page > $3 ORDER BY page LIMIT $4;

-- :name delete
DELETE FROM d1_databases WHERE id = $1;

-- :name gone
SELECT given.id FROM unnest($1::text[]) AS given (id)
WHERE NOT EXISTS (SELECT FROM d1_databases d WHERE d.id = given.id);

-- :name adopt
INSERT INTO d1_databases (id, owner, epoch, ends_at, seq, tag, pages)
VALUES ($1, $2, 1, clock_timestamp() + make_interval(secs => $3), $4, $5, $6) ON CONFLICT DO NOTHING RETURNING 1;

-- :name add_tag
INSERT INTO d1_tags VALUES ($1, $2, $3, $4);
