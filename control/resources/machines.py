"""The machines of a platform: `…/machines`. Empty on a host that is alone."""

from __future__ import annotations

import asyncio
from itertools import groupby
from typing import Any

from starlette.responses import Response

from control.call import Call, Endpoint
from control.envelope import success
from control.resources.addresses import ACCOUNT


async def list_all(call: Call) -> Response:
    seen = await asyncio.to_thread(call.services.machines)
    shown: list[dict[str, Any]] = []
    for machine, group in groupby(seen, lambda row: row.machine):
        rows = list(group)
        shown.append(
            {
                "id": machine,
                "name": rows[0].name,
                "seen_s_ago": round(min(row.ago_s for row in rows), 1),
                "root_key_ids": list(rows[0].keys),
                "files": [
                    {
                        "file": row.file,
                        "seq": row.seq,
                        "log_seq": row.log_seq,
                        "lag": max(0, row.log_seq - row.seq),
                    }
                    for row in rows
                ],
            }
        )
    return success(shown)


ENDPOINTS = [Endpoint("GET", f"{ACCOUNT}/machines", list_all)]
