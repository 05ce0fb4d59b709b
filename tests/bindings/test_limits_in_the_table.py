"""Each figure that the table of operations tells a worker's author is what is enforced: at it all is well, beyond it
the operation fails with the error that is named. A figure without a case here fails, as does a case without its figure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from bindings.memory import (
    MemoryDataset,
    MemoryKvNamespace,
    MemoryRateLimiter,
    MemorySqlDatabase,
)
from bindings.operations import REFERENCE
from model.errors import OperationError
from model.errors import OperationErrorCode as Code
from tests.bindings.limit_edges import (
    BATCHED,
    BITS,
    CTR,
    DATA,
    DELAYED,
    DEPTH,
    GCM,
    HALVES,
    HMAC,
    HOSTS,
    INVALID,
    KEYS,
    LIMIT,
    MESSAGES,
    MIB,
    OAEP,
    PSS,
    URL,
    Edge,
    asking,
    batch,
    cached,
    crypto,
    decompressed,
    derive,
    edge,
    generate,
    in_session,
    listing,
    of_data,
    of_options,
    of_requests,
    of_rsa,
    of_sql,
    of_statements,
    params,
    point,
    points,
    put,
    reading,
)

#: By operation, then by its figure as the table has it (of an argument: by the argument's name).
CASES: dict[str, dict[str, list[Edge]]] = {
    "fetch": {"URL 16 KiB, 128 headers, 128 KiB of them": of_requests("fetch")},
    "kv.get": {
        "key 1 to 512 bytes of UTF-8, not `.` or `..`": [
            edge("kv.get", MemoryKvNamespace, ("k",), ("",), INVALID),
            edge("kv.get", MemoryKvNamespace, ("\u00e4" * 256,), ("\u00e4" * 256 + "k",), LIMIT),
        ],
        "options?": [
            edge("kv.get", MemoryKvNamespace, ("k", {"cache_ttl": 30}), ("k", {"cache_ttl": 29}), INVALID)
        ],
    },
    "kv.get_many": {
        "1 to 100 keys": [
            edge("kv.get_many", MemoryKvNamespace, (["k"],), ([],), INVALID),
            edge("kv.get_many", MemoryKvNamespace, (KEYS[:100],), (KEYS,), INVALID),
        ]
    },
    "kv.put": {
        "value 25 MiB": [edge("kv.put", MemoryKvNamespace, ("k", bytes(25 * MIB)), ("k", bytes(25 * MIB + 1)), LIMIT)],
        "metadata 1024 bytes of JSON, without bytes, NaN and infinities": [
            edge("kv.put", MemoryKvNamespace, put({"metadata": "m" * 1022}), put({"metadata": "m" * 1023}), LIMIT),
            edge("kv.put", MemoryKvNamespace, put({"metadata": 1e308}), put({"metadata": float("inf")}), INVALID),
        ],
        "expiration at least 60 s from now": [
            edge("kv.put", MemoryKvNamespace, put({"expiration_ttl": 60}), put({"expiration_ttl": 59}), INVALID)
        ],
    },
    "kv.list": {
        "a page ends before `limit` at 512 KiB of names and metadata": [
            Edge(listing(512), listing(513), None, lambda page: not page["list_complete"])
        ],
        "options?": [
            edge("kv.list", MemoryKvNamespace, ({"limit": 1},), ({"limit": 0},), INVALID),
            edge("kv.list", MemoryKvNamespace, ({"limit": 1000},), ({"limit": 1001},), INVALID),
        ],
    },
    "queue.send": {**MESSAGES, "options?": DELAYED[:2]},
    "queue.send_batch": {**BATCHED, "options?": DELAYED[2:]},
    "d1.query": of_statements("d1.query"),
    "d1.batch": {
        **of_statements("d1.batch"),
        "1 to 1000 statements": [
            edge("d1.batch", MemorySqlDatabase, batch(1), batch(0), INVALID),
            edge("d1.batch", MemorySqlDatabase, batch(1000), batch(1001), INVALID),
        ],
    },
    "d1.exec": {"100000 bytes": [of_sql("d1.exec", ("SELECT 1".ljust(100_000),), ("SELECT 1".ljust(100_001),))]},
    "cache.put": {"body 25 MiB": [Edge(cached(25 * MIB), cached(25 * MIB + 1), LIMIT)]},
    "rate_limit.limit": {
        "a key 512 bytes of UTF-8": [
            edge(
                "rate_limit.limit",
                lambda: MemoryRateLimiter(1, 60),
                ({"key": "\u00e4" * 256},),
                ({"key": "\u00e4" * 256 + "k"},),
                INVALID,
            )
        ]
    },
    "analytics.write": {
        "250 points an event": [Edge(points(250), points(251), LIMIT)],
        "1 index of 96 bytes": [
            edge("analytics.write", MemoryDataset, point(indexes=["i"]), point(indexes=["i", "j"]), LIMIT),
            edge("analytics.write", MemoryDataset, point(indexes=["i" * 96]), point(indexes=["i" * 97]), LIMIT),
        ],
        "20 blobs, 16384 bytes together": [
            edge("analytics.write", MemoryDataset, point(blobs=["b"] * 20), point(blobs=["b"] * 21), LIMIT),
            edge("analytics.write", MemoryDataset, point(blobs=HALVES), point(blobs=[*HALVES, "b"]), LIMIT),
        ],
        "20 doubles, without NaN and infinities": [
            edge("analytics.write", MemoryDataset, point(doubles=[1] * 20), point(doubles=[1] * 21), LIMIT),
            edge("analytics.write", MemoryDataset, point(doubles=[1.0]), point(doubles=[float("nan")]), INVALID),
        ],
    },
    "service.fetch": {
        "URL 16 KiB, 128 headers, 128 KiB of them": of_requests("service.fetch"),
        "16 workers deep": DEPTH["service.fetch"],
    },
    "service.call": {
        "URL 16 KiB, 128 headers, 128 KiB of them": of_requests("service.call"),
        "a method's name 256 characters": [
            Edge(asking("service.call", {"url": URL}, "m" * 256), asking("service.call", {"url": URL}, "m" * 257))
        ],
        "16 workers deep": DEPTH["service.call"],
    },
    "dispatch.fetch": {
        "URL 16 KiB, 128 headers, 128 KiB of them": of_requests("dispatch.fetch"),
        "16 workers deep": DEPTH["dispatch.fetch"],
        "params and outbound 64 entries and 16 KiB each": of_options(*params("params"), *params("outbound")),
        "egress.allow 64 hosts": of_options(
            ({"egress": {"allow": HOSTS[:64]}}, {"egress": {"allow": HOSTS}})
        ),
    },
    "crypto.digest": {"data 1000000 bytes": of_data("digest", "SHA-256")},
    "crypto.sign": {
        "data 1000000 bytes": of_data("sign", HMAC, b"key"),
        BITS: of_rsa("sign", lambda key: (PSS, key, b"")),
    },
    "crypto.verify": {
        "data 1000000 bytes": of_data("verify", HMAC, b"key", bytes(32)),
        BITS: of_rsa("verify", lambda key: (PSS, key, bytes(128), b"")),
    },
    "crypto.encrypt": {
        "data 1000000 bytes": of_data("encrypt", GCM, bytes(16)),
        BITS: of_rsa("encrypt", lambda key: (OAEP, key, b"")),
    },
    "crypto.decrypt": {
        "data 1000016 bytes: AES-GCM's has a tag behind it": [
            crypto("decrypt", (CTR, bytes(16), DATA + bytes(16)), (CTR, bytes(16), DATA + bytes(17)))
        ],
        BITS: of_rsa("decrypt", lambda key: (OAEP, key, bytes(128))),
    },
    "crypto.derive_bits": {
        "PBKDF2 100000 iterations, and twice as many for all blocks of the hash's size": [
            crypto("derive_bits", derive("PBKDF2", "SHA-1", 100_000, 8), derive("PBKDF2", "SHA-1", 100_001, 8)),
            crypto("derive_bits", derive("PBKDF2", "SHA-1", 100_000, 320), derive("PBKDF2", "SHA-1", 100_000, 328)),
        ],
        "8192 bytes": [
            crypto("derive_bits", derive("HKDF", "SHA-512", 0, 8 * 8192), derive("HKDF", "SHA-512", 0, 8 * 8193))
        ],
    },
    "crypto.generate_key": {
        "RSA of 2048, 3072 or 4096 bits, with exponent 3 or 65537": [
            crypto("generate_key", generate(2048), generate(1024)),
            crypto("generate_key", generate(2048), generate(4104)),
            crypto("generate_key", generate(2048), generate(2048, b"\5")),
        ]
    },
    "crypto.import_key": {BITS: of_rsa("import_key", lambda key: ("spki", key, {"name": "RSA-PSS"}))},
    "crypto.export_key": {BITS: of_rsa("export_key", lambda key: ("jwk", "public", key))},
    "compression.decompress": {
        "134217728 bytes": [Edge(decompressed(128 * MIB), decompressed(128 * MIB + 1), Code.CLOSED_STREAM)]
    },
    "stream.read": {
        "128 streams open in one event": [
            Edge(in_session(("stream.open",), times=64), in_session(("stream.open",), times=65), LIMIT)
        ],
        "max": [Edge(reading(1), reading(0))],
    },
    "sleep": {
        "ms": [
            Edge(in_session(("sleep", 0)), in_session(("sleep", -1))),
            Edge(in_session(("sleep", 900_000)), in_session(("sleep", 900_001))),
        ]
    },
}  # fmt: skip

_RANGE = re.compile(r"\d (?:s, )?(?:to|or more)\b|\bto \d+|\d+ or more")
#: What has a digit in it and is no figure.
_WORDS = re.compile(r"PKCS#8|^`bookmark`")


def figures() -> Iterator[tuple[str, str]]:
    """What the table has: of each limit, and of each argument that has bounds."""
    for row in REFERENCE:
        for limit in row.limits:
            if re.search(r"\d", limit) and not _WORDS.search(limit):
                yield row.name, limit
        for name, shape in row.arguments:
            if _RANGE.search(shape):
                yield row.name, name


FIGURES = sorted(set(figures()))


@pytest.mark.parametrize(("operation", "figure"), FIGURES)
async def test_a_figure_is_what_is_enforced(operation: str, figure: str) -> None:
    edges = CASES.get(operation, {}).get(figure)
    assert edges, f"no case for {figure!r} of {operation}: add what is at it, and what is beyond"
    for one in edges:
        answered = await one.within()
        if one.code is None:
            assert not one.is_cut(answered)
            assert one.is_cut(await one.beyond())
            continue
        with pytest.raises(OperationError) as refused:
            await one.beyond()
        assert refused.value.code is one.code, refused.value.message


def test_each_case_is_of_a_figure() -> None:
    assert {(name, figure) for name, of_row in CASES.items() for figure in of_row} <= set(FIGURES)
