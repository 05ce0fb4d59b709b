-- What the outbound gateway decided, one row a request that a worker wanted to send. Only control opens this file.
-- `id` grows in the order of arrival, and `recorded_at_ms` with it; `at_ms` is when the request was made.
-- `namespace` is '' for plain scripts. `facts` is JSON, or '': what else the decision was made of.
CREATE TABLE egress_audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    recorded_at_ms INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    namespace TEXT NOT NULL,
    tenant TEXT NOT NULL,
    script TEXT NOT NULL,
    ray_id TEXT NOT NULL,
    method TEXT NOT NULL,
    scheme TEXT NOT NULL,
    host TEXT NOT NULL,
    port INTEGER NOT NULL,
    path TEXT NOT NULL,
    result TEXT NOT NULL,
    rule TEXT NOT NULL,
    layer TEXT NOT NULL,
    reason TEXT NOT NULL,
    policy_reason TEXT NOT NULL,
    policy_version TEXT NOT NULL,
    address TEXT NOT NULL,
    status INTEGER NOT NULL,
    bytes_up INTEGER NOT NULL,
    bytes_down INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    redirect INTEGER NOT NULL,
    retry INTEGER NOT NULL,
    facts TEXT NOT NULL
);
CREATE INDEX egress_audit_time ON egress_audit (recorded_at_ms);
CREATE INDEX egress_audit_tenant ON egress_audit (tenant);
CREATE INDEX egress_audit_ray ON egress_audit (ray_id);
