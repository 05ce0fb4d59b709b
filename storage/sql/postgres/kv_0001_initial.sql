-- Keys are bytes (UTF-8): their order is byte order. Ids are ASCII; "C" compares them without a locale.
-- EXTERNAL: values are kept as they are, not compressed, so that reading one costs no CPU of the server's.
CREATE TABLE kv_entries (
    namespace_id text COLLATE "C" NOT NULL,
    key bytea NOT NULL,
    expiration bigint,                  -- UNIX seconds; from then on the key is gone
    metadata text,                      -- JSON
    size integer NOT NULL,              -- of the value, in bytes
    value bytea NOT NULL,               -- empty when the value is in kv_chunks
    value_id uuid,
    PRIMARY KEY (namespace_id, key)
);
ALTER TABLE kv_entries ALTER COLUMN value SET STORAGE EXTERNAL;

-- For the sweep alone: most keys never expire and are not in it.
CREATE INDEX kv_entries_expiration ON kv_entries (expiration) WHERE expiration IS NOT NULL;

-- Large values, in pieces that never change: they are read and written one after another, never whole.
CREATE TABLE kv_chunks (
    value_id uuid NOT NULL,
    number integer NOT NULL,
    data bytea NOT NULL,
    PRIMARY KEY (value_id, number)
);
ALTER TABLE kv_chunks ALTER COLUMN data SET STORAGE EXTERNAL;

-- Whatever ends an entry (a write, the sweep, a namespace's deletion) ends its pieces.
CREATE FUNCTION kv_drop_chunks() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM kv_chunks WHERE value_id = OLD.value_id;
    RETURN NULL;
END
$$;
CREATE TRIGGER kv_entries_replaced AFTER UPDATE ON kv_entries FOR EACH ROW
    WHEN (OLD.value_id IS NOT NULL AND OLD.value_id IS DISTINCT FROM NEW.value_id)
    EXECUTE FUNCTION kv_drop_chunks();
CREATE TRIGGER kv_entries_removed AFTER DELETE ON kv_entries FOR EACH ROW
    WHEN (OLD.value_id IS NOT NULL) EXECUTE FUNCTION kv_drop_chunks();

-- Ids are random and never used again: a worker that still holds a deleted namespace can't fill it anew.
CREATE TABLE kv_deleted_namespaces (
    namespace_id text COLLATE "C" PRIMARY KEY
);

-- What caches must forget. In the order of transactions: what a reader's snapshot says is over (below its xmin)
-- is over, so nothing that commits late is passed over, as it would be with numbers from a sequence.
CREATE TABLE kv_changes (
    txid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    at timestamptz NOT NULL DEFAULT now(),
    namespace_id text COLLATE "C" NOT NULL,
    key bytea                           -- NULL: all keys of the namespace
);
CREATE INDEX kv_changes_txid ON kv_changes (txid);

-- What list cursors are signed with, the same everywhere. gen_random_uuid is the server's strong source.
CREATE TABLE kv_cursor_key (
    one integer PRIMARY KEY CHECK (one = 1),
    key bytea NOT NULL
);
INSERT INTO kv_cursor_key
SELECT 1, sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));
