"""`…/export` and `…/import` of SQL databases as Cloudflare's clients use them, and their dumps' signed address."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import msgspec
from starlette.responses import Response

from bindings.d1 import show_bookmark
from control.call import Call, Endpoint
from control.d1_transfers import TRANSFER
from control.envelope import ApiError, Code, success
from control.resources.addresses import ACCOUNT
from storage.d1.service import IMPORT_BYTES
from storage.d1_records import D1DatabaseRecord

_DATABASE: Final = f"{ACCOUNT}/d1/database/{{database}}"
_MD5: Final = re.compile(r"[0-9a-f]{32}")


class DumpOptions(msgspec.Struct):
    no_schema: bool = False
    no_data: bool = False
    tables: list[str] = []


class Export(msgspec.Struct):
    output_format: str
    current_bookmark: str | None = None
    dump_options: DumpOptions | None = None


class Import(msgspec.Struct):
    action: str
    etag: str = ""
    filename: str = ""
    current_bookmark: str = ""


async def export(call: Call) -> Response:
    """Begin one, or look after the one that `current_bookmark` names; one that is not known is begun anew."""
    wanted = await call.json(Export)
    if wanted.output_format != "polling":
        raise ApiError(400, Code.VALIDATION, "output_format: `polling` is right", "output_format")
    record, transfers = _record(call), call.services.transfers
    job = transfers.job(record.id, "export", wanted.current_bookmark)
    if job is None:
        options = wanted.dump_options or DumpOptions()
        job = transfers.begin(record.id, "export", partial(_export, call, record, options))
    await transfers.wait(job)
    return success(job.shown())


async def _export(call: Call, record: D1DatabaseRecord, options: DumpOptions) -> Mapping[str, Any]:
    dump = await call.services.d1.export(
        record.id,
        record.owner,
        schema=not options.no_schema,
        data=not options.no_data,
        tables=options.tables,
    )
    transfers = call.services.transfers
    name = await transfers.keep(record.id, dump)
    return {"filename": name, "signed_url": transfers.address(_base(call), "GET", name)}


async def load(call: Call) -> Response:
    """`init` gives an address to put the dump to, `ingest` runs what was put there, `poll` looks after that."""
    wanted = await call.json(Import)
    record, transfers = _record(call), call.services.transfers
    match wanted.action:
        case "init":
            if not _MD5.fullmatch(wanted.etag):
                raise ApiError(400, Code.VALIDATION, "etag: the dump's MD5, in hex, is right", "etag")
            name = transfers.announce(record.id, wanted.etag)
            url = transfers.address(_base(call), "PUT", name)
            return success({"success": True, "type": "import", "filename": name, "upload_url": url})
        case "ingest":
            dump = await transfers.take(record.id, wanted.filename, wanted.etag)
            job = transfers.begin(record.id, "import", partial(_load, call, record, dump))
        case "poll":
            found = transfers.job(record.id, "import", wanted.current_bookmark)
            if found is None:
                raise ApiError(
                    400,
                    Code.VALIDATION,
                    "current_bookmark: no import is known by it; whether it ran, the database tells",
                    "current_bookmark",
                )
            job = found
        case _:
            raise ApiError(400, Code.VALIDATION, "action: `init`, `ingest` and `poll` are right", "action")
    await transfers.wait(job)
    return success(job.shown())


async def _load(call: Call, record: D1DatabaseRecord, dump: bytes) -> Mapping[str, Any]:
    done = await call.services.d1.load(record.id, dump, record.owner)
    return {
        "num_queries": done.count,
        "final_bookmark": show_bookmark(done.bookmark or 0),
        "meta": {
            "served_by": "tenantry",
            "duration": done.duration_ms,
            "changes": done.rows_written,
            "last_row_id": done.last_row_id,
            "changed_db": True,
            "size_after": done.size_after,
            "rows_read": done.rows_read,
            "rows_written": done.rows_written,
        },
    }


async def download(call: Call) -> Response:
    name = call.services.transfers.check("GET", call.query)
    dump = await call.services.transfers.read(name)
    return Response(dump, media_type="application/sql", headers={"cache-control": "no-store"})


async def upload(call: Call) -> Response:
    name = call.services.transfers.check("PUT", call.query)
    etag = await call.services.transfers.put(name, await call.body())
    return Response(b"", headers={"etag": f'"{etag}"'})


def _record(call: Call) -> D1DatabaseRecord:
    return call.store.d1_databases.get(call.params["database"])


def _base(call: Call) -> str:
    """As the client reached us: its name passed the host check."""
    return f"{call.request.url.scheme}://{call.request.url.netloc}"


ENDPOINTS = [
    Endpoint("POST", f"{_DATABASE}/export", export),
    Endpoint("POST", f"{_DATABASE}/import", load),
    Endpoint("GET", TRANSFER, download, is_open=True),
    Endpoint("PUT", TRANSFER, upload, IMPORT_BYTES, is_open=True),
]
