"""The request that a worker may be warmed up with when it is loaded: opt-in, since tenants' code runs in it. Pure.

What its first request makes and keeps (a router, compiled schemas) is in each later one's memory then. What is left
behind is shared by all scripts with the same bundle, so the event has nothing of one of them: no variables, no
bindings, no parameters, no client.
"""

from __future__ import annotations

from typing import Any, Final

_HOST: Final = "warm-up.invalid"  # RFC 2606: nobody's
_TEXT: Final = 500


def warm_up_event(path: str) -> dict[str, Any]:
    """As `fetch` is given one (docs/guest-abi.md)."""
    return {
        "method": "GET",
        "url": f"https://{_HOST}{path}",
        "headers": [["host", _HOST], ["user-agent", "tenantry-warm-up"]],
        "vars": {},
        "params": {},
        "client": {"ip": "", "tls": "", "ray": ""},
        "env": [],
    }


def why_unanswered(told: dict[str, Any]) -> str:
    """Of what the engine said, where that was not an answer."""
    error = told.get("error")
    if isinstance(error, dict) and error.get("message"):
        return str(error["message"])[:_TEXT]
    return "it waits for something that only the host could do"


def cold_notice(path: str, why: str) -> str:
    """For whoever deploys."""
    return f"the worker is kept as it was before its warm-up request of {path}: {why}"
