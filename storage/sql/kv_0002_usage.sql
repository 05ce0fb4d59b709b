-- What each namespace holds, kept by triggers: whoever writes, of whatever release, keeps it right.
CREATE TABLE kv_usage (
    namespace_id TEXT PRIMARY KEY,
    keys INTEGER NOT NULL,
    bytes INTEGER NOT NULL              -- of the values
) WITHOUT ROWID;
INSERT INTO kv_usage SELECT namespace_id, count(*), sum(size) FROM kv_entries GROUP BY namespace_id;

CREATE TRIGGER kv_entries_added AFTER INSERT ON kv_entries BEGIN
    INSERT INTO kv_usage VALUES (new.namespace_id, 1, new.size)
    ON CONFLICT (namespace_id) DO UPDATE SET keys = keys + 1, bytes = bytes + excluded.bytes;
END;

CREATE TRIGGER kv_entries_changed AFTER UPDATE OF size ON kv_entries WHEN new.size <> old.size BEGIN
    UPDATE kv_usage SET bytes = bytes + new.size - old.size WHERE namespace_id = new.namespace_id;
END;

CREATE TRIGGER kv_entries_removed AFTER DELETE ON kv_entries BEGIN
    UPDATE kv_usage SET keys = keys - 1, bytes = bytes - old.size WHERE namespace_id = old.namespace_id;
    DELETE FROM kv_usage WHERE namespace_id = old.namespace_id AND keys = 0;
END;
