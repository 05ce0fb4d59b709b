"""SQL databases: what one indexed read costs a request, beside no work and beside a KV read."""

from __future__ import annotations

from benchmarks.figures import Figure
from benchmarks.host import sample
from benchmarks.load import get
from benchmarks.throughput import compare, one_core, ratio_figure

#: Both run on the loop; a thread there and back, on a core that all share with the load, made it 0.18 and 0.31.
_BESIDE_HELLO, _BESIDE_KV = 0.25, 0.45


def point_query() -> list[Figure]:
    """`SELECT … WHERE id = ?`, by a worker: a small read, which the worker process runs on its loop."""
    with one_core() as (host, load, _):
        host.deploy("hello", sample("hello"), "hello.localhost")
        pages = host.make_kv("pages", "reader")
        host.deploy("reader", sample("kv_read"), "reader.localhost", kv={"STORE": pages})
        host.put_kv(pages, "/greeting", b"Hello from KV!\n")
        book = host.make_d1("book", "writer")
        host.deploy("writer", sample("guest_book"), "book.localhost", d1={"DB": book})
        host.query_d1(
            book,
            "CREATE TABLE entries (id INTEGER PRIMARY KEY, name TEXT NOT NULL, entry TEXT NOT NULL);"
            "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r LIMIT 10000)"
            " INSERT INTO entries SELECT x, 'Ada', 'Hello from D1!' FROM r;",
        )
        load.connect("d1", host.port, [get("book.localhost", "/entries/5000")])
        load.connect("hello", host.port, [get("hello.localhost")])
        pid = host.worker_pid
        beside_hello = compare(load, ("d1", pid), ("hello", pid))
        load.connect("kv", host.port, [get("reader.localhost", "/greeting")])
        beside_kv = compare(load, ("d1", pid), ("kv", pid))
    return [
        ratio_figure("a worker with one D1 point query", "hello", beside_hello, _BESIDE_HELLO),
        ratio_figure("a worker with one D1 point query", "a worker with one KV read", beside_kv, _BESIDE_KV),
    ]
