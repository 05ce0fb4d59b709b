"""What a guest may ask for: each operation's row, and what a reader is told of it, a module for each kind of binding.

Comes in: the operations themselves and their limits. Goes out: rows, which bindings.operations joins.
"""
