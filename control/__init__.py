"""The REST API: what the platform's operator changes, in the shapes of Cloudflare's API v4.

Comes in: HTTP on the control listener. Goes out: changes of `storage.control_store`, one transaction each, and
the envelope. May import: `model`, `storage`, `bindings`, `outbound.policy`, `runtime.artifact`. It runs no tenant's
code: a `Publisher` that is handed in compiles uploads. The data plane never imports it.
"""
