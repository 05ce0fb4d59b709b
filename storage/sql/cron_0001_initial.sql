-- Times are UNIX milliseconds; `namespace` is '' for plain scripts. The schedules themselves are in control.db.

-- The latest due time of each schedule that somebody took to run: it only ever grows, so each is taken once.
CREATE TABLE cron_claims (
    namespace TEXT NOT NULL,
    script TEXT NOT NULL,
    cron TEXT NOT NULL,
    due_ms INTEGER NOT NULL,
    previous_ms INTEGER NOT NULL,      -- the one before it; 0 when there was none
    PRIMARY KEY (namespace, script, cron)
) WITHOUT ROWID;

CREATE TABLE cron_runs (
    id TEXT PRIMARY KEY,
    namespace TEXT NOT NULL,
    script TEXT NOT NULL,
    cron TEXT NOT NULL,
    due_ms INTEGER NOT NULL,
    started_ms INTEGER NOT NULL,
    missed INTEGER NOT NULL,
    machine TEXT NOT NULL,
    ended_ms INTEGER,                  -- null while it runs
    outcome TEXT,
    error TEXT,
    cpu_us INTEGER
) WITHOUT ROWID;
CREATE INDEX cron_runs_script ON cron_runs (namespace, script, started_ms);
CREATE INDEX cron_runs_started ON cron_runs (started_ms);
CREATE INDEX cron_runs_open ON cron_runs (machine) WHERE ended_ms IS NULL;
