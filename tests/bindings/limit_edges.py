"""What is at a figure of the table of operations, and what is beyond it: for test_limits_in_the_table."""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from bindings.cache import StoredHttpCache
from bindings.memory import (
    MemoryCacheStorage,
    MemoryDataset,
    MemoryEvent,
    MemoryFetcher,
    MemoryKvNamespace,
    MemoryPermit,
    MemoryQueueProducer,
    MemorySqlDatabase,
)
from bindings.operations import OPERATIONS
from bindings.service import NamedService
from dispatch.runner import TreeRunner
from dispatch.workers import Workers
from model.capabilities import CallOptions, EventContext, WorkerEnv
from model.errors import OperationError
from model.errors import OperationErrorCode as Code
from model.identity import DEFAULT_ACCOUNT, ScriptName, TenantId, VersionId
from model.limits import Limits
from model.messages import BytesSource, OutgoingRequest, Response, StreamClosed
from model.outcome import EventOutcome
from model.scripts import ScriptRef, ScriptVersion
from runtime.metering import Ending
from tests.runtime.abi.test_session import Host

MIB = 1 << 20
INVALID, LIMIT = Code.INVALID_ARGUMENT, Code.LIMIT_EXCEEDED
Work = Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class Edge:
    within: Work
    beyond: Work
    #: What `beyond` fails with; None: it does not fail, and its answer is told from that of `within` by `is_cut`.
    code: Code | None = INVALID
    is_cut: Callable[[Any], bool] = lambda answer: False


async def run(name: str, lent: object, *args: object, event: MemoryEvent | None = None) -> object:
    event = event or MemoryEvent()
    try:
        result = OPERATIONS[name].run(event, lent, args)
        return await result if inspect.isawaitable(result) else result
    finally:
        event.close()


def edge(
    name: str, lent: Callable[[], object], within: tuple[object, ...], beyond: tuple[object, ...], code: Code
) -> Edge:
    return Edge(lambda: run(name, lent(), *within), lambda: run(name, lent(), *beyond), code)


# -- requests ------------------------------------------------------------------------------------------------


def answer(_request: OutgoingRequest) -> Response:
    return Response(200, (), b"")


class Namespace:
    """A Dispatcher."""

    async def fetch(
        self, script: str, request: OutgoingRequest, caller: EventContext, options: CallOptions
    ) -> Response:
        return answer(request)


class CallableService:
    """A ServiceTarget."""

    async def fetch(
        self, request: OutgoingRequest, caller: EventContext, call: str | None = None
    ) -> Response:
        assert call is not None
        return answer(request)


def asking(name: str, request: object, options: object = None) -> Work:
    if name == "fetch":
        env = WorkerEnv(fetcher=MemoryFetcher(answer))
        return lambda: run(name, None, request, event=MemoryEvent(env))
    if name == "service.fetch":
        return lambda: run(name, MemoryFetcher(answer), request)
    if name == "service.call":
        return lambda: run(name, CallableService(), request, options or "add")
    return lambda: run(name, Namespace(), "shop", request, options)


URL = "https://a.example/"


def of_requests(name: str) -> list[Edge]:
    def of(**parts: object) -> Work:
        return asking(name, {"url": URL, **parts})

    return [
        Edge(of(url=URL.ljust(16_384, "x")), of(url=URL.ljust(16_385, "x"))),
        Edge(of(headers=[["a", "b"]] * 128), of(headers=[["a", "b"]] * 129)),
        Edge(of(headers=[["a", "b" * (131_072 - 1)]]), of(headers=[["a", "b" * 131_072]])),
    ]


def of_options(*pairs: tuple[object, object]) -> list[Edge]:
    return [
        Edge(asking("dispatch.fetch", {"url": URL}, within), asking("dispatch.fetch", {"url": URL}, beyond))
        for within, beyond in pairs
    ]


HOSTS = [f"{number}.a.test" for number in range(65)]


def params(name: str) -> tuple[tuple[object, object], ...]:
    return (
        ({name: {f"k{n}": "" for n in range(64)}}, {name: {f"k{n}": "" for n in range(65)}}),
        ({name: {"a": "x" * 16_383}}, {name: {"a": "x" * 16_384}}),
    )


class Called:
    """A worker that answers at once, as the runner finds it."""

    version = ScriptVersion(
        DEFAULT_ACCOUNT,
        ScriptRef(None, ScriptName("b")),
        TenantId("t"),
        VersionId("1"),
        "",
        frozenset({"fetch"}),
        entrypoints=("default",),
    )
    fetch_limits = Limits()

    async def fetch(self, _request: object, responder: Any, *_more: object) -> Ending:
        responder.put_whole(200, (), b"")
        return Ending(EventOutcome.OK)


def at_depth(name: str, depth: int) -> Work:
    async def call() -> object:
        runner = TreeRunner()
        runner.use(cast("Workers", {Called.version.ref: Called()}))
        event = MemoryEvent()
        event.context.depth = depth
        if name.startswith("service."):
            lent: object = NamedService(
                runner, lambda _ref: Called.version, DEFAULT_ACCOUNT, None, ScriptName("b")
            )
            method = ("add",) if name == "service.call" else ()
            answered = await run(name, lent, {"url": URL}, *method, event=event)
        else:
            request = OutgoingRequest("GET", URL, (), None)
            answered = await runner.run(Called.version.ref, request, event.context, CallOptions())
        await runner.wait_for_tree(event.context.permit)
        assert cast("MemoryPermit", event.context.permit).held == 0
        return answered

    return call


DEPTH = {
    name: [Edge(at_depth(name, 15), at_depth(name, 16), LIMIT)]
    for name in ("service.fetch", "service.call", "dispatch.fetch")
}

# -- KV, queues ----------------------------------------------------------------------------------------------


KEYS = [f"{number}" for number in range(101)]


def listing(keys: int) -> Work:
    """Each key 512 bytes, and its metadata too."""

    async def call() -> object:
        namespace = MemoryKvNamespace()
        for number in range(keys):
            await run("kv.put", namespace, f"{number:0512}", b"", {"metadata": "m" * 510})
        return await run("kv.list", namespace)

    return call


def put(options: object) -> tuple[object, ...]:
    return ("k", b"v", options)


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


def text(size: int) -> dict[str, object]:
    return {"body": "x" * size, "content_type": "text"}


BYTES = {"content_type": "bytes"}
MESSAGES = {
    "a message 128000 bytes": [
        edge("queue.send", MemoryQueueProducer, (b"x" * 128_000, BYTES), (b"x" * 128_001, BYTES), LIMIT)
    ],
    "JSON at most 24 deep, integers within 64 bits": [
        edge("queue.send", MemoryQueueProducer, (nested(24),), (nested(25),), INVALID),
        edge("queue.send", MemoryQueueProducer, ((1 << 64) - 1,), (1 << 64,), INVALID),
        edge("queue.send", MemoryQueueProducer, (-(1 << 63),), (-(1 << 63) - 1,), INVALID),
    ],
}  # fmt: skip
FULL = [text(128_000)] * 2
BATCHED = {
    "a message 128000 bytes": [
        edge("queue.send_batch", MemoryQueueProducer, ([text(128_000)],), ([text(128_001)],), LIMIT)
    ],
    "JSON at most 24 deep, integers within 64 bits": [
        edge("queue.send_batch", MemoryQueueProducer, ([{"body": nested(24)}],), ([{"body": nested(25)}],), INVALID),
    ],
    "1 to 100 messages, 256000 bytes together": [
        edge("queue.send_batch", MemoryQueueProducer, ([text(1)],), ([],), INVALID),
        edge("queue.send_batch", MemoryQueueProducer, ([text(1)] * 100,), ([text(1)] * 101,), INVALID),
        edge("queue.send_batch", MemoryQueueProducer, (FULL,), ([*FULL, text(1)],), LIMIT),
    ],
}  # fmt: skip
DELAYED = [
    edge(name, MemoryQueueProducer, (body, {"delay_seconds": within}), (body, {"delay_seconds": beyond}), INVALID)
    for name, body in (("queue.send", 1), ("queue.send_batch", [{"body": 1}]))
    for within, beyond in ((0, -1), (43_200, 43_201))
]  # fmt: skip

# -- SQL -----------------------------------------------------------------------------------------------------

#: With so short a name as many rows as there may be are as many bytes as there may be.
ROWS = 'WITH RECURSIVE r (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r LIMIT %d) SELECT n AS "" FROM r'
PLACES = "SELECT 1 WHERE 1 IN (%s)"


def of_sql(name: str, within: tuple[object, ...], beyond: tuple[object, ...]) -> Edge:
    """One statement, alone or in a batch."""

    def asked(statement: tuple[object, ...]) -> Work:
        async def call() -> object:
            database = MemorySqlDatabase()
            try:
                if name == "d1.query":
                    return await run(
                        name, database, *statement, *([[]] if len(statement) == 1 else []), {"mode": "raw"}
                    )
                if name == "d1.batch":
                    return await run(name, database, [list(statement)], {"mode": "raw"})
                return await run(name, database, *statement)
            finally:
                database.close()

        return call

    return Edge(asked(within), asked(beyond), LIMIT)


def of_statements(name: str) -> dict[str, list[Edge]]:
    #: A row, its column's name, and that it is a blob.
    beside = 4 + (5 + 1) + 5
    blob = "SELECT zeroblob(%d) AS x"
    return {
        "a statement 100000 bytes and 100 parameters, for `?` and `?NNN`": [
            of_sql(name, ("SELECT 1".ljust(100_000),), ("SELECT 1".ljust(100_001),)),
            of_sql(name, (PLACES % ",".join("?" * 100), [1] * 100), (PLACES % ",".join("?" * 101), [1] * 101)),
        ],
        "the result 900000 bytes and 50000 rows": [
            of_sql(name, (ROWS % 50_000,), (ROWS % 50_001,)),
            of_sql(name, (blob % (900_000 - beside),), (blob % (900_001 - beside),)),
        ],
    }  # fmt: skip


def batch(statements: int) -> tuple[object, ...]:
    return ([["SELECT 1"]] * statements,)


# -- cryptography --------------------------------------------------------------------------------------------

DATA = bytes(1_000_000)
HMAC = {"name": "HMAC", "hash": "SHA-256"}
GCM = {"name": "AES-GCM", "iv": bytes(12), "tag_length": 128}
CTR = {"name": "AES-CTR", "counter": bytes(16), "length": 64}
PSS = {"name": "RSA-PSS", "hash": "SHA-256", "salt_length": 32}
OAEP = {"name": "RSA-OAEP", "hash": "SHA-1"}


@cache
def public(bits: int) -> bytes:
    """A key whose modulus is odd, and of this size."""
    key = rsa.RSAPublicNumbers(65_537, (1 << bits - 1) + 1).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@cache
def private() -> bytes:
    key = rsa.generate_private_key(65_537, 1024)  # noqa: S505 - the least that there may be
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


@cache
def too_large() -> bytes:
    """Of 4,241 bits, by a prime that is known: to look for one so large takes seconds."""
    known, e = (1 << 3217) - 1, 65_537
    found = rsa.generate_private_key(e, 2048).private_numbers().p
    d = pow(e, -1, (known - 1) * (found - 1))
    numbers = rsa.RSAPrivateNumbers(
        p=known,
        q=found,
        d=d,
        dmp1=d % (known - 1),
        dmq1=d % (found - 1),
        iqmp=pow(found, -1, known),
        public_numbers=rsa.RSAPublicNumbers(e, known * found),
    )
    key = numbers.private_key(unsafe_skip_rsa_key_validation=True)
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def nothing() -> None: ...


def crypto(name: str, within: tuple[object, ...], beyond: tuple[object, ...]) -> Edge:
    return edge(f"crypto.{name}", nothing, within, beyond, INVALID)


def of_data(name: str, *before: object) -> list[Edge]:
    return [crypto(name, (*before, DATA), (*before, DATA + b"x"))]


def of_rsa(name: str, args: Callable[[bytes], tuple[object, ...]]) -> list[Edge]:
    if name in ("sign", "decrypt"):
        return [crypto(name, args(private()), args(too_large()))]
    return [
        crypto(name, args(public(1024)), args(public(1023))),
        crypto(name, args(public(4096)), args(public(4097))),
    ]


def derive(algorithm: str, digest: str, iterations: int, bits: int) -> tuple[object, ...]:
    of: dict[str, object] = {"name": algorithm, "hash": digest, "salt": b""}
    of |= {"iterations": iterations} if algorithm == "PBKDF2" else {"info": b""}
    return (of, b"key", bits)


def generate(bits: int, exponent: bytes = b"\1\0\1") -> tuple[object, ...]:
    return ({"name": "RSA-PSS", "modulus_length": bits, "public_exponent": exponent},)


BITS = "RSA of 1024 to 4096 bits; curves P-256, P-384, P-521"

# -- the rest ------------------------------------------------------------------------------------------------


def decompressed(size: int) -> Work:
    async def call() -> object:
        coder = zlib.compressobj(1, wbits=31)
        packed = b"".join(coder.compress(bytes(MIB)) for _ in range(size // MIB))
        packed += coder.compress(bytes(size % MIB)) + coder.flush()
        event = MemoryEvent()
        given = event.lend_stream(BytesSource(packed))
        stream = event.borrow_stream(await run_open("compression.decompress", event, "gzip", given))
        read = 0
        try:
            while part := await stream.read():
                read += len(part)
        except StreamClosed as closed:
            raise OperationError(Code.CLOSED_STREAM, str(closed)) from closed
        finally:
            stream.close()
            event.close()
        return read

    return call


async def run_open(name: str, event: MemoryEvent, *args: object) -> object:
    return OPERATIONS[name].run(event, None, args)


def points(count: int) -> Work:
    async def call() -> object:
        event, dataset = MemoryEvent(), MemoryDataset()
        for _ in range(count):
            OPERATIONS["analytics.write"].run(event, dataset, ({},))
        return None

    return call


HALVES = ["b" * 8192] * 2


def point(**parts: object) -> tuple[object, ...]:
    return (parts,)


def cached(size: int) -> Work:
    async def call() -> object:
        event = MemoryEvent()
        stream = event.lend_stream(BytesSource(bytes(size)))
        answer = {"status": 200, "headers": [["cache-control", "max-age=60"]], "body_stream": stream}
        cache = StoredHttpCache(MemoryCacheStorage(), "owner", "", 0)
        return await run("cache.put", cache, {"url": URL}, answer, event=event)

    return call


def in_session(*calls: tuple[object, ...], times: int = 1) -> Work:
    """What the runtime serves itself."""

    async def call() -> object:
        host = Host()
        try:
            for name, *args in calls * times:
                reply = await host.call([1, name, None, *args], timeout_ms=0)
                error = reply["done"].get(1, {}).get("error")
                if error is not None:
                    raise OperationError(Code(error["code"]), error["message"])
            return None
        finally:
            host.session.close()

    return call


def reading(most: int) -> Work:
    async def call() -> object:
        host = Host()
        try:
            stream = host.session.lend_stream(BytesSource(b"body"))
            result = await host.one("stream.read", stream, most)
            if isinstance(result, tuple):
                raise OperationError(Code(result[0]), result[1])
            return result
        finally:
            host.session.close()

    return call
