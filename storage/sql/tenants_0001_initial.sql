-- Tenants have no table of their own: they are whoever owns something. What is kept of them is how much they may have,
-- and which were deleted. Times are UNIX milliseconds.

-- `namespace` and `tenant` are '' for what the host says of every tenant. `value` null: as much as there is room for.
CREATE TABLE tenant_quotas (
    namespace TEXT NOT NULL,
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    value INTEGER,
    PRIMARY KEY (namespace, tenant, name)
) WITHOUT ROWID;

-- A deletion goes on where it was cut short until `ended_at_ms` is set; what stays proves that it was whole.
CREATE TABLE tenant_deletions (
    namespace TEXT NOT NULL,
    tenant TEXT NOT NULL,
    began_at_ms INTEGER NOT NULL,
    ended_at_ms INTEGER,
    PRIMARY KEY (namespace, tenant)
) WITHOUT ROWID;

CREATE INDEX scripts_tenant ON scripts (namespace, tenant);
CREATE INDEX kv_namespaces_tenant ON kv_namespaces (namespace, tenant);
CREATE INDEX queues_tenant ON queues (namespace, tenant);
CREATE INDEX d1_databases_tenant ON d1_databases (namespace, tenant);
