-- Responses that workers keep. `owner` is namespace/tenant; times are UNIX seconds.
CREATE TABLE cache_entries (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    cache TEXT NOT NULL,
    url TEXT NOT NULL,
    record BLOB NOT NULL,              -- bindings.cache: status, headers, what it varies by
    varied BLOB NOT NULL,              -- one entry of a URL for each
    stored_at_s REAL NOT NULL,
    size INTEGER NOT NULL,
    body BLOB NOT NULL,
    UNIQUE (owner, cache, url, varied)
);
-- The order in which they go, and what an owner holds, without reading a body.
CREATE INDEX cache_entries_age ON cache_entries (owner, stored_at_s, size);
CREATE INDEX cache_entries_oldest ON cache_entries (stored_at_s);

CREATE TABLE cache_totals (
    owner TEXT PRIMARY KEY,            -- '' is all of them
    entries INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TRIGGER cache_entries_added AFTER INSERT ON cache_entries BEGIN
    INSERT INTO cache_totals VALUES (new.owner, 1, new.size), ('', 1, new.size)
    ON CONFLICT (owner) DO UPDATE SET entries = entries + 1, bytes = bytes + new.size;
END;
CREATE TRIGGER cache_entries_removed AFTER DELETE ON cache_entries BEGIN
    UPDATE cache_totals SET entries = entries - 1, bytes = bytes - old.size WHERE owner IN (old.owner, '');
    DELETE FROM cache_totals WHERE owner = old.owner AND entries = 0;
END;
