"""The beginnings of addresses that several resources share, in Starlette's form."""

from __future__ import annotations

from typing import Final

API: Final = "/client/v4"
ACCOUNT: Final = f"{API}/accounts/{{account}}"
WORKERS: Final = f"{ACCOUNT}/workers"
NAMESPACES: Final = f"{WORKERS}/dispatch/namespaces"
NAMESPACE: Final = f"{NAMESPACES}/{{namespace}}"
#: Scripts of a dispatch namespace, and plain ones: the same resources under both.
SCRIPTS: Final = (f"{NAMESPACE}/scripts", f"{WORKERS}/scripts")
SCRIPT: Final = tuple(f"{scripts}/{{script}}" for scripts in SCRIPTS)
#: What leaves the scripts of a dispatch namespace, and the plain ones.
EGRESS: Final = (NAMESPACE, WORKERS)
