"""What the README promises, on a real `tenantry serve` with two worker processes, as its users would try it."""
