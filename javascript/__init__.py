"""JavaScript workers: the engine that runs them, and how it is built.

In: sources of ours and pinned ones. Out: one WebAssembly module that speaks `tenantry_v1`. May import `model` and
`runtime`, which runs the engine once while it is built; `runtime` is handed the engine's bytes and never imports this.
"""
