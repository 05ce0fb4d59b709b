-- Cron triggers. `cron` is as model.cron_syntax spells it. Due times count from `created_at_ms` on.
CREATE TABLE schedules (
    namespace TEXT NOT NULL,
    script TEXT NOT NULL,
    cron TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    PRIMARY KEY (namespace, script, cron),
    FOREIGN KEY (namespace, script) REFERENCES scripts (namespace, name) ON DELETE CASCADE
) WITHOUT ROWID;
