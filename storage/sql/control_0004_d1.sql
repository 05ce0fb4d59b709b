-- SQL databases: what exists and whose it is. Each has a file of its own, named by its id. `tenant` and `namespace` are
-- both set (a tenant's) or both null (the account's).
CREATE TABLE d1_databases (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    tenant TEXT,
    namespace TEXT,
    created_at_ms INTEGER NOT NULL,
    CHECK ((tenant IS NULL) = (namespace IS NULL))
) WITHOUT ROWID;
CREATE INDEX d1_databases_namespace ON d1_databases (namespace);
