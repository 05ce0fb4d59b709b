"""Workers to read, to deploy and to test with: one folder a worker. README.md lists them.

`build` makes each `.wasm` from its source; nothing here runs on a host.
"""
