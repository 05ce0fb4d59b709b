"""Front doors of the runtime: each ABI translates between a guest and the one table of operations.

May import: model, runtime.
"""
