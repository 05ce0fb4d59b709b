"""The nouns that every package shares: frozen data and protocols.

Comes in: nothing. Goes out: types. May import: nothing of ours. It does no I/O.
"""
