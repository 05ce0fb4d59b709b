-- Who took a lease that is counted: who comes after one that died gives back what it held.
ALTER TABLE queue_leases ADD COLUMN holder text COLLATE "C" NOT NULL DEFAULT '';
