-- As in cron.db on a single machine: times are UNIX milliseconds, `namespace` is '' for plain scripts.

-- The latest due time of each schedule that somebody took to run: it only ever grows, so each is taken once.
CREATE TABLE cron_claims (
    namespace text COLLATE "C" NOT NULL,
    script text COLLATE "C" NOT NULL,
    cron text COLLATE "C" NOT NULL,
    due_ms bigint NOT NULL,
    previous_ms bigint NOT NULL,       -- the one before it; 0 when there was none
    PRIMARY KEY (namespace, script, cron)
);

CREATE TABLE cron_runs (
    id text COLLATE "C" PRIMARY KEY,
    namespace text COLLATE "C" NOT NULL,
    script text COLLATE "C" NOT NULL,
    cron text COLLATE "C" NOT NULL,
    due_ms bigint NOT NULL,
    started_ms bigint NOT NULL,
    missed bigint NOT NULL,
    machine text NOT NULL,
    ended_ms bigint,                   -- null while it runs
    outcome text,
    error text,
    cpu_us bigint
);
CREATE INDEX cron_runs_script ON cron_runs (namespace, script, started_ms);
CREATE INDEX cron_runs_started ON cron_runs (started_ms);
CREATE INDEX cron_runs_open ON cron_runs (machine) WHERE ended_ms IS NULL;
