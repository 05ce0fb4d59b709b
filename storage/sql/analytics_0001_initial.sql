-- Data points that workers wrote. Only control opens this file. `namespace` and `tenant` are '' for datasets of the
-- account. `points` and `bytes` count what a dataset holds. Table names are without case in SQL, so datasets' are too.
CREATE TABLE datasets (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    namespace TEXT NOT NULL,
    tenant TEXT NOT NULL,
    name TEXT NOT NULL COLLATE NOCASE,
    made_at_ms INTEGER NOT NULL,
    points INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    -- The number of its last point.
    last INTEGER NOT NULL DEFAULT 0,
    UNIQUE (namespace, tenant, name)
);

-- `id` is the dataset's, times 2^40, and the point's number in it: points of a dataset lie together, so that to read all of
-- them takes a third of the time. `timestamp` is UTC as SQLite's date functions write it, so that queries compare it with what these answer.
CREATE TABLE points (
    id INTEGER PRIMARY KEY,
    dataset_id INTEGER NOT NULL REFERENCES datasets (id),
    timestamp TEXT NOT NULL,
    size INTEGER NOT NULL,
    index1 TEXT NOT NULL,
    blob1 TEXT NOT NULL,
    blob2 TEXT NOT NULL,
    blob3 TEXT NOT NULL,
    blob4 TEXT NOT NULL,
    blob5 TEXT NOT NULL,
    blob6 TEXT NOT NULL,
    blob7 TEXT NOT NULL,
    blob8 TEXT NOT NULL,
    blob9 TEXT NOT NULL,
    blob10 TEXT NOT NULL,
    blob11 TEXT NOT NULL,
    blob12 TEXT NOT NULL,
    blob13 TEXT NOT NULL,
    blob14 TEXT NOT NULL,
    blob15 TEXT NOT NULL,
    blob16 TEXT NOT NULL,
    blob17 TEXT NOT NULL,
    blob18 TEXT NOT NULL,
    blob19 TEXT NOT NULL,
    blob20 TEXT NOT NULL,
    double1 REAL NOT NULL,
    double2 REAL NOT NULL,
    double3 REAL NOT NULL,
    double4 REAL NOT NULL,
    double5 REAL NOT NULL,
    double6 REAL NOT NULL,
    double7 REAL NOT NULL,
    double8 REAL NOT NULL,
    double9 REAL NOT NULL,
    double10 REAL NOT NULL,
    double11 REAL NOT NULL,
    double12 REAL NOT NULL,
    double13 REAL NOT NULL,
    double14 REAL NOT NULL,
    double15 REAL NOT NULL,
    double16 REAL NOT NULL,
    double17 REAL NOT NULL,
    double18 REAL NOT NULL,
    double19 REAL NOT NULL,
    double20 REAL NOT NULL
);
CREATE INDEX points_dataset ON points (dataset_id, timestamp);
