-- A database is made before its record: a younger one that no record leads to may be under way. Of older releases: now.
ALTER TABLE d1_databases ADD COLUMN made_at TIMESTAMPTZ NOT NULL DEFAULT now();
