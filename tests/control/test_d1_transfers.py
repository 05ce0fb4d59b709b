"""Export and import as Cloudflare's clients do them: begin, poll, and pass the dump by a signed address."""

from __future__ import annotations

import hashlib
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from tests.control.support import Host, ok, refused
from tests.control.test_d1 import D1, SCHEMA, make, rows


async def exported(host: Host, database: str, **options: object) -> dict[str, Any]:
    """As wrangler's pollExport."""
    body: dict[str, object] = {"output_format": "polling", "dump_options": options}
    for _ in range(30):
        answer = ok(await host.api.post(f"{D1}/{database}/export", json=body))
        assert (answer["success"], answer["type"]) == (True, "export")
        if answer["status"] != "active":
            return dict(answer)
        body["current_bookmark"] = answer["at_bookmark"]
    raise AssertionError("the export did not end")


async def imported(host: Host, database: str, dump: bytes) -> dict[str, Any]:
    """As wrangler's uploadAndBeginIngestion and pollUntilComplete."""
    etag = hashlib.md5(dump, usedforsecurity=False).hexdigest()
    where = f"{D1}/{database}/import"
    begun = ok(await host.api.post(where, json={"action": "init", "etag": etag}))
    put = await host.api.put(begun["upload_url"], content=dump, headers={"authorization": ""})
    assert put.status_code == 200
    assert put.headers["etag"].strip('"') == etag
    body = {"action": "ingest", "filename": begun["filename"], "etag": etag}
    answer = ok(await host.api.post(where, json=body))
    for _ in range(30):
        if answer["status"] != "active":
            break
        answer = ok(
            await host.api.post(where, json={"action": "poll", "current_bookmark": answer["at_bookmark"]})
        )
    return dict(answer)


async def test_an_export_is_imported_the_same(host: Host) -> None:
    database, copy = await make(host), await make(host, "copy")
    await rows(host, database, SCHEMA)
    done = await exported(host, database, no_schema=False, no_data=False, tables=[])
    assert (done["status"], done["error"]) == ("complete", "")
    got = await host.api.get(done["result"]["signed_url"], headers={"authorization": ""})
    assert got.status_code == 200
    assert got.content == (await host.api.get(f"{D1}/{database}/dump")).content
    loaded = await imported(host, copy, got.content)
    assert loaded["status"] == "complete"
    result = loaded["result"]
    assert result["num_queries"] > 10
    assert result["meta"]["rows_written"] >= 7
    assert result["meta"]["size_after"] > 4096
    assert result["final_bookmark"] == ok(await host.api.get(f"{D1}/{copy}/time_travel/bookmark"))["bookmark"]
    assert (await host.api.get(f"{D1}/{copy}/dump")).content == got.content


async def test_parts_are_exported(host: Host) -> None:
    database = await make(host)
    await rows(host, database, SCHEMA)
    done = await exported(host, database, no_schema=True, tables=["c"])
    text = (await host.api.get(done["result"]["signed_url"])).text
    assert "CREATE" not in text
    assert '"p"(' not in text


async def test_what_fails_is_told_in_the_answer_and_changes_nothing(host: Host) -> None:
    database = await make(host)
    await rows(host, database, "CREATE TABLE t (a); CREATE VIRTUAL TABLE f USING fts5(x)")
    failed = await imported(host, database, b"INSERT INTO t VALUES (1);\nATTACH 'x' AS y;\n")
    assert failed["status"] == "error"
    assert "line 2" in failed["errors"][0]
    assert await rows(host, database, "SELECT count(*) AS n FROM t") == [{"n": 0}]
    done = await exported(host, database)
    assert done["status"] == "error"
    assert "virtual table" in done["error"]


async def test_an_upload_that_is_not_what_was_announced_is_refused(host: Host) -> None:
    database = await make(host)
    where = f"{D1}/{database}/import"
    etag = hashlib.md5(b"SELECT 1", usedforsecurity=False).hexdigest()
    begun = ok(await host.api.post(where, json={"action": "init", "etag": etag}))
    body = {"action": "ingest", "filename": begun["filename"], "etag": etag}
    refused(await host.api.post(where, json=body), 400, 10021, "filename")
    refused(await host.api.put(begun["upload_url"], content=b"SELECT 2"), 400, 10026)
    assert (await host.api.put(begun["upload_url"], content=b"SELECT 1")).status_code == 200
    # Of another database it is not.
    other = await make(host, "other")
    refused(await host.api.post(f"{D1}/{other}/import", json=body), 400, 10021, "filename")
    assert ok(await host.api.post(where, json=body))["status"] in ("active", "complete")


async def test_an_address_is_good_for_what_was_signed(host: Host) -> None:
    database = await make(host)
    url = (await exported(host, database))["result"]["signed_url"]
    parts = urlsplit(url)
    given = dict(parse_qsl(parts.query))
    for changed in (
        {"file": "x.sql"},
        {"expires": str(int(given["expires"]) + 1)},
        {"signature": "0" * 64},
        {"signature": "ü"},
        {"expires": "never"},
    ):
        query = urlencode({**given, **changed})
        assert (await host.api.get(f"{parts.path}?{query}")).status_code == 403, changed
    assert (await host.api.put(url, content=b"x")).status_code == 403
    assert (await host.api.get(parts.path)).status_code == 403


@pytest.mark.parametrize(
    ("what", "body", "field"),
    [
        ("export", {"output_format": "file"}, "output_format"),
        ("import", {"action": "eat"}, "action"),
        ("import", {"action": "init", "etag": "x"}, "etag"),
        ("import", {"action": "poll", "current_bookmark": "x"}, "current_bookmark"),
    ],
)
async def test_what_is_wrong_is_named(host: Host, what: str, body: dict[str, str], field: str) -> None:
    database = await make(host)
    refused(await host.api.post(f"{D1}/{database}/{what}", json=body), 400, 10021, field)
