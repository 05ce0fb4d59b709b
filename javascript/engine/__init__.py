"""The engine: QuickJS-NG and our glue as WebAssembly, with the prelude evaluated in its memory.

`python -m javascript.engine` builds it. docs/decisions/0018 says why it is made this way.
"""
