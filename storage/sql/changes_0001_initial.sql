-- The change log: what a cached look-up depends on was changed. `seq` never repeats, even after pruning.
CREATE TABLE changes (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    key TEXT NOT NULL
);
