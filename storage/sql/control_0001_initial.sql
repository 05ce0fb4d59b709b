-- What control writes and every process reads. Times are UNIX milliseconds; `namespace` is '' for plain scripts.
-- A version number is the `seq` of the change that made it, so it is never used twice.

CREATE TABLE namespaces (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    trusted INTEGER NOT NULL DEFAULT 0,
    created_at_ms INTEGER NOT NULL,
    modified_at_ms INTEGER NOT NULL
) WITHOUT ROWID;

-- `record` is a model.scripts.ScriptVersion as MessagePack: the data plane reads nothing else of a script.
CREATE TABLE scripts (
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    tenant TEXT NOT NULL,
    record BLOB NOT NULL,
    PRIMARY KEY (namespace, name)
) WITHOUT ROWID;

CREATE TABLE script_tags (
    namespace TEXT NOT NULL,
    script TEXT NOT NULL,
    tag TEXT NOT NULL,
    PRIMARY KEY (namespace, tag, script),
    FOREIGN KEY (namespace, script) REFERENCES scripts (namespace, name) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX script_tags_of ON script_tags (namespace, script);

-- The bindings of `record` once more, to find who uses what. `shared`: another tenant's, and meant to be.
CREATE TABLE script_bindings (
    namespace TEXT NOT NULL,
    script TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    target TEXT NOT NULL,
    shared INTEGER NOT NULL,
    PRIMARY KEY (namespace, script, name),
    FOREIGN KEY (namespace, script) REFERENCES scripts (namespace, name) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX script_bindings_target ON script_bindings (target, kind);

CREATE TABLE secrets (
    namespace TEXT NOT NULL,
    script TEXT NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    sealed BLOB NOT NULL,
    modified_at_ms INTEGER NOT NULL,
    PRIMARY KEY (namespace, script, name),
    FOREIGN KEY (namespace, script) REFERENCES scripts (namespace, name) ON DELETE CASCADE
) WITHOUT ROWID;

-- `headers` is the sorted conditions as JSON text: equal conditions are equal text.
CREATE TABLE routes (
    id TEXT PRIMARY KEY,
    pattern TEXT NOT NULL,
    path_prefix TEXT NOT NULL,
    headers TEXT NOT NULL,
    target_namespace TEXT NOT NULL,
    target_script TEXT NOT NULL,       -- '' when a hook
    target_hook TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    UNIQUE (pattern, path_prefix, headers)
) WITHOUT ROWID;
CREATE INDEX routes_target ON routes (target_namespace, target_script);

CREATE TABLE hostnames (
    pattern TEXT PRIMARY KEY,
    header_routes INTEGER NOT NULL,
    modified_at_ms INTEGER NOT NULL
) WITHOUT ROWID;

-- A model.scripts.HostnameRoutes for each pattern, made anew with each change of one: one point read a look-up.
CREATE TABLE hostname_records (
    pattern TEXT PRIMARY KEY,
    record BLOB NOT NULL
) WITHOUT ROWID;

-- `tenant` and `namespace` are both set (a tenant's) or both null (the account's).
CREATE TABLE kv_namespaces (
    id TEXT PRIMARY KEY,
    title TEXT NOT NULL UNIQUE,
    tenant TEXT,
    namespace TEXT,
    created_at_ms INTEGER NOT NULL,
    CHECK ((tenant IS NULL) = (namespace IS NULL))
) WITHOUT ROWID;

CREATE TABLE queues (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    tenant TEXT,
    namespace TEXT,
    created_at_ms INTEGER NOT NULL,
    modified_at_ms INTEGER NOT NULL,
    CHECK ((tenant IS NULL) = (namespace IS NULL))
) WITHOUT ROWID;

-- One consumer a queue: two would share its messages between them, which nobody means.
CREATE TABLE queue_consumers (
    id TEXT PRIMARY KEY,
    queue_id TEXT NOT NULL UNIQUE REFERENCES queues (id) ON DELETE CASCADE,
    namespace TEXT NOT NULL,
    script TEXT NOT NULL,
    batch_size INTEGER NOT NULL,
    max_wait_ms INTEGER NOT NULL,
    max_retries INTEGER NOT NULL,
    retry_delay_s INTEGER NOT NULL,
    dead_letter_queue_id TEXT REFERENCES queues (id),
    created_at_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX queue_consumers_script ON queue_consumers (namespace, script);
CREATE INDEX queue_consumers_dead_letter ON queue_consumers (dead_letter_queue_id);

-- Egress policies; '' is the one of plain scripts. Without a row everything is denied.
CREATE TABLE policies (
    namespace TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    text TEXT NOT NULL,
    modified_at_ms INTEGER NOT NULL
) WITHOUT ROWID;

-- Contents of deleted KV namespaces and queues that are still to be removed from their own files.
CREATE TABLE pending_deletions (
    kind TEXT NOT NULL,                -- 'kv' or 'queue'
    id TEXT NOT NULL,
    PRIMARY KEY (kind, id)
) WITHOUT ROWID;
