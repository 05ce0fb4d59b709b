-- Who is asked before a request of a namespace's workers leaves: a script ('' is the namespace of a plain one), or a
-- hook by its name. `outbound_params` is a JSON array of the names declared; null: any.
ALTER TABLE namespaces ADD COLUMN outbound_namespace TEXT;
ALTER TABLE namespaces ADD COLUMN outbound_script TEXT;
ALTER TABLE namespaces ADD COLUMN outbound_hook TEXT;
ALTER TABLE namespaces ADD COLUMN outbound_params TEXT;

-- The same of a dispatch binding, to find who uses a script.
ALTER TABLE script_bindings ADD COLUMN outbound_namespace TEXT;
ALTER TABLE script_bindings ADD COLUMN outbound_script TEXT;
ALTER TABLE script_bindings ADD COLUMN outbound_hook TEXT;
