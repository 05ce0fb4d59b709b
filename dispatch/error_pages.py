"""What a visitor is shown when there is no answer of a worker's: HTML for a browser, JSON for the rest.

Holds the code, its title and the ray id, and nothing of a tenant's: what went wrong in a worker is in its
log, which the ray id finds.
"""

from __future__ import annotations

import html
import json
from http import HTTPStatus
from typing import Final

from model.errors import PlatformError, VisitorError
from model.messages import Header
from model.outcome import PAGES, EventOutcome

_HTML: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{status} {title}</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:36em;margin:15vh auto;padding:0 1em}}
small{{color:#666}}</style>
</head><body><h1>{title}</h1>{message}
<p><small>Error {code} · Status {status} · Ray ID <code>{ray}</code></small></p></body></html>
"""
#: Of an Accept header; what is longer is not looked at.
_ACCEPT_BYTES: Final = 1_024


def error_response(
    error: PlatformError | EventOutcome, ray_id: str, accept: bytes = b""
) -> tuple[int, list[Header], bytes]:
    """Status, headers and body of the page for `error`. `accept` is the visitor's Accept header or b""."""
    retry_after_s: int | None
    if isinstance(error, PlatformError):
        outcome, status, code = error.outcome, error.status, error.code
        retry_after_s = error.retry_after_s
        # A VisitorError's message is for the visitor; the others' are for the tenant or the operator.
        message = error.message if isinstance(error, VisitorError) else ""
    else:
        outcome, message = error, ""
        status, code = PAGES[error].status, PAGES[error].code
        retry_after_s = None
    page = PAGES[outcome]
    if retry_after_s is None and outcome is EventOutcome.LOAD_SHED:
        retry_after_s = 1
    title = page.title if code == page.code else _phrase(status)
    if wants_html(accept):
        content_type = b"text/html; charset=utf-8"
        body = _HTML.format(
            status=status,
            code=code,
            title=html.escape(title),
            message=f"<p>{html.escape(message)}</p>" if message else "",
            ray=html.escape(ray_id),
        ).encode()
    else:
        content_type = b"application/json"
        told: dict[str, object] = {"code": code, "title": title, "status": status, "ray_id": ray_id}
        if message:
            told["message"] = message
        body = json.dumps({"error": told}).encode() + b"\n"
    headers: list[Header] = [
        (b"content-type", content_type),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'"),
    ]
    if retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % retry_after_s))
    return status, headers, body


def wants_html(accept: bytes) -> bool:
    """Whether `accept` names text/html, at least as much as JSON. `*/*` and nothing get JSON: browsers
    always name HTML (RFC 9110 §12.5.1).
    """
    weights = {b"text/html": 0.0, b"application/json": 0.0}
    for part in accept[:_ACCEPT_BYTES].lower().split(b","):
        media, _, parameters = part.partition(b";")
        media = media.strip()
        if media in weights:
            weights[media] = _weight(parameters)
    return weights[b"text/html"] > 0 and weights[b"text/html"] >= weights[b"application/json"]


def _weight(parameters: bytes) -> float:
    for parameter in parameters.split(b";"):
        name, _, value = parameter.partition(b"=")
        if name.strip() == b"q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
