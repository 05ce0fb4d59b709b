"""One module a resource: its addresses, what they take and what they answer. May import: as `control`."""
