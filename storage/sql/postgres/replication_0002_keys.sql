-- Which root keys a machine holds, by their ids; the first is the one that it seals under. Of older releases: ''.
ALTER TABLE replication_machines ADD COLUMN keys TEXT NOT NULL DEFAULT '';
