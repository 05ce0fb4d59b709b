-- Egress policies in layers, each with its past; and what their rules name, sealed.

-- `layer` is 'namespace' (`name` is ''), 'tag' or 'tenant'. A version whose text is null is a deletion: who did
-- it stays known. `digest` is the sha256 of the text: equal ones are parsed once.
CREATE TABLE policy_versions (
    namespace TEXT NOT NULL,
    layer TEXT NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    text TEXT,
    digest TEXT NOT NULL,
    widen INTEGER NOT NULL,
    author_id TEXT NOT NULL,           -- of an API token; '' when it was set before authors were kept
    author_name TEXT NOT NULL,
    message TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (namespace, layer, name, version)
);

-- The versions in force, one a layer. A namespace without its own denies everything.
CREATE TABLE policy_layers (
    namespace TEXT NOT NULL,
    layer TEXT NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    digest TEXT NOT NULL,
    widen INTEGER NOT NULL,
    PRIMARY KEY (namespace, layer, name)
) WITHOUT ROWID;

-- The names of materials that the versions in force use.
CREATE TABLE policy_materials (
    namespace TEXT NOT NULL,
    layer TEXT NOT NULL,
    name TEXT NOT NULL,
    material TEXT NOT NULL,
    PRIMARY KEY (namespace, layer, name, material),
    FOREIGN KEY (namespace, layer, name) REFERENCES policy_layers (namespace, layer, name) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX policy_materials_name ON policy_materials (namespace, material);

-- SQL has no sha256: what was set before gets a digest that no other text has.
INSERT INTO policy_versions
    SELECT namespace, 'namespace', '', version, text, 'version-' || version, 0, '', '', '', modified_at_ms
    FROM policies;
INSERT INTO policy_layers
    SELECT namespace, 'namespace', '', version, 'version-' || version, 0 FROM policies;
DROP TABLE policies;

-- `kind` is 'secret', 'ca_bundle' or 'client_certificate'. `shown` is JSON: what may be seen of it.
CREATE TABLE egress_materials (
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    version INTEGER NOT NULL,
    sealed BLOB NOT NULL,
    shown TEXT NOT NULL,
    author_id TEXT NOT NULL,
    author_name TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    modified_at_ms INTEGER NOT NULL,
    PRIMARY KEY (namespace, name)
);
