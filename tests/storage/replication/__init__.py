"""Control data on several machines, over a real PostgreSQL."""
