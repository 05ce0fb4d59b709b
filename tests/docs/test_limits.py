"""docs/limits.md has every limit, with the value that the code enforces."""

from __future__ import annotations

from dataclasses import fields

import pytest

from bindings import kv, queues
from bindings.cache import BODY_BYTES
from bindings.cache_rules import MOST_AGE_S
from cli import analytics_keeping
from cli.settings import SERVE
from control import cron_turns, route_request, script_upload, upload_metadata
from control.cron_runner import CronSettings
from control.resources import queue_consumers, queue_messages
from control.resources.queues import MOST_RETENTION_S
from dispatch import received, runner
from dispatch.admission import AdmissionLimits
from edge.door import DoorLimits
from model import analytics
from model.limits import BACKGROUND_LIMITS, FETCH_LIMITS, Limits
from observability import log_ring
from outbound import fetch_limits, header_hygiene, hops, policy_document, policy_parse, target
from runtime import artifact, compile_queue, map_budget, memory_budget
from runtime import compile_job as job
from storage import (
    analytics_store,
    binding_rules,
    control_records,
    cron_protocol,
    queue_protocol,
    schedule_records,
)
from storage.cache_store import VARIANTS, CacheBounds
from storage.d1 import limits as d1
from storage.d1.jobs import D1Room
from storage.d1.service import IMPORT_BYTES
from tests.docs.pages import code, number, read, section, table

PAGE = read("limits.md")
EVENT = {code(row[0]): row[1:] for row in table(PAGE, "## One event")}


def test_every_limit_of_an_event_has_a_row() -> None:
    assert list(EVENT) == [field.name for field in fields(Limits)]


@pytest.mark.parametrize("name", [field.name for field in fields(Limits)])
def test_the_defaults_are_those_of_the_code(name: str) -> None:
    fetch, background, *_ = EVENT[name]
    assert number(fetch) == getattr(FETCH_LIMITS, name)
    if background != "–":
        assert number(background) == getattr(BACKGROUND_LIMITS, name)


def test_what_an_upload_may_set_is_what_control_takes() -> None:
    told = {}
    for cells in EVENT.values():
        if cells[3] != "–":
            least, most = (int(part.replace(",", "")) for part in cells[3].partition(", ")[2].split(" to "))
            told[code(cells[3])] = (least, most)
    assert told == {name: (least, most) for name, (_, least, most, _) in upload_metadata._LIMITS.items()}


def test_caches() -> None:
    bounds = CacheBounds()
    told = [row[1] for row in table(PAGE, "## Caches")]
    assert [number(cell) for cell in told[:5]] == [
        BODY_BYTES,
        bounds.tenant_bytes,
        bounds.tenant_entries,
        VARIANTS,
        bounds.total_bytes,
    ]
    assert told[5].startswith("30 days")
    assert bounds.most_age_s == MOST_AGE_S == 30 * 24 * 3600


def test_data_points() -> None:
    told = [row[1] for row in table(PAGE, "## Data points")]
    defaults = {setting.name: setting.default for setting in SERVE}
    queries = analytics_store.QUERY_LIMITS
    worker, control = analytics_keeping.WORKER_BYTES >> 20, analytics_keeping.CONTROL_BYTES >> 20
    assert told == [
        str(analytics.POINTS),
        f"1, of {analytics.INDEX_BYTES} bytes",
        f"{analytics.BLOBS}, of {analytics.BLOB_BYTES:,} bytes together",
        str(analytics.DOUBLES),
        str(analytics_store.DATASETS),
        f"{worker} MiB, {control} MiB; of one tenant an eighth",
        f"{defaults['analytics_mb']} MiB, {defaults['analytics_days']} days (settings)",
        f"{queries.query_s:g} s; {d1.RESULT_ROWS:,} rows, {d1.RESULT_BYTES:,} bytes",
        f"{analytics_store.QUERIES}, {analytics_store.WAITING_QUERIES}",
    ]


def test_cron_triggers() -> None:
    told = [row[1] for row in table(PAGE, "## Cron triggers")]
    assert told == [
        str(schedule_records.SCHEDULES_PER_SCRIPT),
        str(cron_turns.MOST_RUNNING),
        f"a quarter of what is free, but {cron_turns.LEAST_SHARE}",
        str(cron_protocol.RUNS_PER_SCRIPT),
        str(CronSettings().history_ms // (24 * 3600 * 1000)),
    ]
    assert cron_turns._SHARE_OF_FREE == 4


@pytest.mark.parametrize("field", fields(DoorLimits), ids=lambda field: field.name)
def test_the_door(field: object) -> None:
    name = field.name  # type: ignore[attr-defined]
    told = {code(row[0]): row[1] for row in table(PAGE, "## At the door") if "`" in row[0]}
    assert number(told[name]) == getattr(DoorLimits(), name)


@pytest.mark.parametrize("name", ["running", "suspended", "waiting", "wait_s"])
def test_admission(name: str) -> None:
    told = {code(row[0]): row[1] for row in table(PAGE, "## How many at once") if "`" in row[0]}
    assert number(told[name]) == getattr(AdmissionLimits.for_slots(map_budget.MOST_SLOTS), name)


def test_slots_and_their_reserve() -> None:
    (row,) = [row for row in table(PAGE, "## How many at once") if row[0].startswith("`slots`")]
    assert number(row[1]) == map_budget.MOST_SLOTS
    assert "an eighth" in row[1]
    assert AdmissionLimits.for_slots(8_000).reserve == 1_000


@pytest.mark.parametrize(
    ("heading", "text"),
    [
        ("## At the door", f"up to {received.SMALL_BODY_BYTES:,}) | {received.SMALL_BODY_S:g} s"),
        ("## How many at once", f"depth of a tree | {runner.MAX_DEPTH} "),
        ("## How many at once", f"above {memory_budget.SHED_ABOVE:.0%} of its share of memory"),
        ("## How many at once", f"above {memory_budget.END_ABOVE:.0%} of its share of memory"),
        ("## How many at once", f"the larger of {AdmissionLimits().least_share} and"),
        ("## Uploads and the API", f"a module | {artifact.MAX_MODULE_BYTES:,} bytes"),
        ("## Uploads and the API", f"a module | {script_upload.MODULE_BYTES:,} bytes"),
        ("## Uploads and the API", f"upload metadata | {script_upload.METADATA_BYTES:,} bytes"),
        (
            "## Uploads and the API",
            f"| {job.COMPILE_CPU_S} s, {job.COMPILE_WALL_S} s, {job.COMPILE_MEMORY_BYTES >> 30} GiB",
        ),
        ("## Uploads and the API", f"start function | {job.STARTUP_CPU_MS:,} ms"),
        (
            "## Uploads and the API",
            "wait for the compiler, in all and of a tenant "
            f"| {compile_queue.MAX_WAITING}, {compile_queue.MAX_WAITING_OF_ONE} ",
        ),
        ("## Uploads and the API", f"bindings of a script | {binding_rules.MOST_BINDINGS} "),
        ("## Uploads and the API", f"tags of a script | {upload_metadata.MOST_TAGS} "),
        ("## Uploads and the API", f"a secret | {upload_metadata.TEXT_BYTES:,} bytes"),
        ("## Uploads and the API", f"conditions of a route | {route_request.MOST_CONDITIONS} "),
        ("## Uploads and the API", f"hostname pattern | {control_records.ROUTES_PER_PATTERN:,} "),
        (
            "## Uploads and the API",
            f"{policy_document.MAX_DOCUMENT_BYTES:,} bytes, {policy_parse.MAX_RULES:,}",
        ),
        ("## KV, queues, outbound", f"a KV key | {kv.KEY_BYTES} bytes"),
        ("## KV, queues, outbound", f"a KV value | {kv.VALUE_BYTES:,} bytes"),
        ("## KV, queues, outbound", f"KV metadata | {kv.METADATA_BYTES:,} bytes"),
        ("## KV, queues, outbound", f"a queue message | {queues.MESSAGE_BYTES:,} bytes"),
        (
            "## KV, queues, outbound",
            f"| {queues.BATCH_MESSAGES} messages, {queues.BATCH_BYTES:,} bytes",
        ),
        ("## KV, queues, outbound", f"delay of a message | {queues.MOST_DELAY_S:,} s"),
        ("## KV, queues, outbound", f"backlog | {queue_protocol.BACKLOG_BYTES:,} bytes"),
        (
            "## KV, queues, outbound",
            f"nobody takes | {queue_protocol.RETENTION_MS // 86_400_000} days; a queue may say up to"
            f" {MOST_RETENTION_S // 86_400} ",
        ),
        ("## KV, queues, outbound", f"`max_concurrency` up to {queue_consumers.MOST_CONCURRENCY} "),
        ("## KV, queues, outbound", f"| {queue_messages.MOST_PULLED}, {queue_messages.MOST_PEEKED} "),
        ("## KV, queues, outbound", f"| {queue_consumers.MOST_VISIBILITY_MS // 3_600_000} hours "),
        ("## KV, queues, outbound", f"references of one purge | {queue_messages.MOST_NAMED:,} "),
        (
            "## KV, queues, outbound",
            f"silence of the upstream | {fetch_limits.FetchLimits().timeout_ms:,} ms",
        ),
        ("## KV, queues, outbound", f"{fetch_limits.FetchLimits().max_response_bytes >> 30} GiB each"),
        (
            "## KV, queues, outbound",
            f"{target.MAX_URL_LENGTH:,} bytes; {header_hygiene.MAX_HEADERS} headers,"
            f" {header_hygiene.MAX_HEADER_BYTES:,} bytes",
        ),
        ("## KV, queues, outbound", f"in a row | {hops.MAX_HOPS} "),
        ("## SQL databases", f"a script for `d1.exec` | {d1.SQL_BYTES:,} bytes"),
        ("## SQL databases", f"parameters of a statement | {d1.PARAMETERS} "),
        ("## SQL databases", f"columns of a table or a result | {d1.COLUMNS} "),
        ("## SQL databases", f"a text, a blob, a row | {d1.VALUE_BYTES:,} bytes"),
        ("## SQL databases", f"a result | {d1.RESULT_BYTES:,} bytes, {d1.RESULT_ROWS:,} rows"),
        ("## SQL databases", f"statements of a batch | {d1.BATCH_STATEMENTS:,} "),
        ("## SQL databases", f"| {d1.LIKE_PATTERN_BYTES} bytes; {d1.FUNCTION_ARGUMENTS} "),
        (
            "## SQL databases",
            f"| {d1.EXPRESSION_DEPTH}; {d1.COMPOUND_SELECTS}; {d1.TRIGGER_DEPTH} |",
        ),
        ("## SQL databases", f"a database | {d1.D1Limits().database_bytes:,} bytes"),
        ("## SQL databases", f"its schema, in memory | {d1.SCHEMA_BYTES >> 20} MiB"),
        (
            "## SQL databases",
            f"time | {d1.D1Limits().query_s:g} s, of it {d1.D1Limits().prepare_s:g} s to compile",
        ),
        ("## SQL databases", f"files that it writes | {d1.D1Limits().written_bytes >> 30} GiB"),
        (
            "## SQL databases",
            f"| {d1.D1Limits().memory_bytes >> 20} MiB; SQLite itself takes no more than"
            f" {d1.D1Limits().hard_memory_bytes >> 30} GiB",
        ),
        (
            "## SQL databases",
            f"for all of a process | {D1Room().waiting_a_database}, {D1Room().waiting:,} ",
        ),
        ("## SQL databases", f"how long one waits | {D1Room().wait_s:g} s"),
        ("## SQL databases", f"of one tenant | {D1Room().threads}, {D1Room().threads_a_tenant} "),
        ("## SQL databases", f"open databases of a worker process | {D1Room().open_databases} "),
        ("## SQL databases", f"a dump that is read | {IMPORT_BYTES >> 20} MiB"),
        (
            "## KV, queues, outbound",
            f"{log_ring.LINES_PER_SCRIPT:,} lines and {log_ring.BYTES_PER_SCRIPT >> 10} KiB a script,"
            f" {log_ring.TOTAL_BYTES >> 20} MiB and {log_ring.SCRIPTS:,} scripts",
        ),
    ],
)
def test_the_page_has_the_value_of_the_code(heading: str, text: str) -> None:
    assert text in section(PAGE, heading).replace("\n", " ")
