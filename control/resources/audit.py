"""What the outbound gateway decided: `…/egress-audit` of the account, of a dispatch namespace, of plain scripts."""

from __future__ import annotations

import datetime
import json
from dataclasses import asdict
from typing import Any, Final

from starlette.responses import Response

from control.call import Call, Endpoint, rfc3339
from control.envelope import ApiError, Code, success
from control.pagination import MOST_PER_PAGE, parse_number
from control.resources.addresses import ACCOUNT, NAMESPACE, WORKERS
from storage.audit_store import AuditQuery, AuditRow

_DEFAULT_LIMIT: Final = 100
_MOST_NUMBER: Final = 10**17
_FILTERS: Final = ("tenant", "script", "rule", "reason", "result", "host")
_LONGEST: Final = 512


async def of_account(call: Call) -> Response:
    return await _read(call, None)


async def of_place(call: Call) -> Response:
    namespace = call.namespace
    if namespace is not None:
        call.store.namespaces.get(namespace)
    return await _read(call, namespace or "")


async def _read(call: Call, namespace: str | None) -> Response:
    query = call.query
    order = query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise ApiError(400, Code.VALIDATION, f"order: {order[:40]!r}; `asc` or `desc` is right", "order")
    filters = {name: query[name] for name in (*_FILTERS, "ray") if query.get(name)}
    for name, value in filters.items():
        if len(value) > _LONGEST:
            raise ApiError(400, Code.VALIDATION, f"{name}: longer than {_LONGEST} characters", name)
    cursor = query.get("cursor") or None
    page = await call.services.audit.query(
        AuditQuery(
            namespace=namespace,
            ray_id=filters.pop("ray", None),
            since_ms=_time(query.get("since", ""), "since"),
            until_ms=_time(query.get("until", ""), "until"),
            ascending=order == "asc",
            cursor=None if cursor is None else parse_number(query, "cursor", 0, _MOST_NUMBER, 0),
            limit=parse_number(query, "limit", 1, MOST_PER_PAGE, _DEFAULT_LIMIT),
            **filters,
        )
    )
    info = {"count": len(page.rows), "cursor": "" if page.cursor is None else str(page.cursor)}
    return success([_show(number, row) for number, row in page.rows], info)


def _time(text: str, name: str) -> int | None:
    """UNIX milliseconds. Raises ApiError(400)."""
    if not text:
        return None
    if text.isascii() and text.isdigit() and len(text) <= 15:
        return int(text)
    try:
        at = datetime.datetime.fromisoformat(text)
        if at.tzinfo is None:
            raise ValueError(text)
        return int(at.timestamp() * 1000)
    except (ValueError, OverflowError):
        raise ApiError(
            400,
            Code.VALIDATION,
            f"{name}: {text[:40]!r}; UNIX milliseconds or a time such as 2026-11-24T17:53:17Z are right",
            name,
        ) from None


def _show(number: int, row: AuditRow) -> dict[str, Any]:
    fields = asdict(row)
    facts = fields.pop("facts")
    known = json.loads(facts) if facts else {}
    return {
        "id": number,
        **fields,
        "at": rfc3339(row.at_ms),
        "namespace": row.namespace or None,
        "tags": known.get("tags", []),
        "params": known.get("params", {}),
        "egress": known.get("egress"),
        "outbound": known.get("outbound"),
        "truncated": known.get("truncated", False),
    }


ENDPOINTS = [
    Endpoint("GET", f"{ACCOUNT}/egress-audit", of_account),
    Endpoint("GET", f"{NAMESPACE}/egress-audit", of_place),
    Endpoint("GET", f"{WORKERS}/egress-audit", of_place),
]
