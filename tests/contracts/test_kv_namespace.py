"""The contract of KvNamespace, held by the public fake, by SQLite and by PostgreSQL alike.

An entry comes back whole or not at all; an expired key is gone at once, for every way of reading; a listing
is in UTF-8 byte order, and going on from a cursor neither repeats nor skips a key, whatever is written.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bindings.kv import StoredKvNamespace
from bindings.memory import MemoryKvNamespace
from model.capabilities import KvEntry, KvLargeEntry, KvNamespace
from model.errors import OperationError, OperationErrorCode
from storage.database import Database
from storage.kv_store import KvStore, kv_migrations
from storage.scratch import SCRATCH, ScratchFile
from tests.support.postgres_stores import PgMachine

MIB = 1 << 20


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def namespace(
    request: pytest.FixtureRequest, clock: Clock, tmp_path: Path
) -> AsyncIterator[KvNamespace]:
    if request.param == "memory":
        yield MemoryKvNamespace(clock)
    elif request.param == "sqlite":
        database = Database.open(tmp_path / "kv.db", kv_migrations())
        yield StoredKvNamespace(KvStore(database, clock), "a" * 32)
        database.close()
    else:
        async with PgMachine(request.getfixturevalue("stores_address"), now_s=clock) as machine:
            yield StoredKvNamespace(machine.kv, uuid.uuid4().hex)


async def get(namespace: KvNamespace, key: str) -> KvEntry | None:
    found = namespace.get(key)
    if found is None or isinstance(found, KvEntry):
        return found
    return await found


async def get_many(namespace: KvNamespace, keys: list[str], max_bytes: int = 25 * MIB) -> dict[str, KvEntry]:
    found = namespace.get_many(keys, max_bytes)
    return dict(await found if inspect.isawaitable(found) else found)


async def opened(namespace: KvNamespace, key: str) -> KvEntry | None:
    """As a stream's reader gets it, in pieces of an odd size."""
    found = namespace.open(key)
    entry = await found if inspect.isawaitable(found) else found
    if not isinstance(entry, KvLargeEntry):
        return entry
    try:
        starts = range(0, entry.size, 777_777)
        pieces = [await asyncio.to_thread(entry.value.read_at, at, 777_777) for at in starts]
    finally:
        entry.value.close()
    return KvEntry(b"".join(pieces), entry.metadata, entry.expiration)


def stored(value: bytes) -> ScratchFile:
    file = SCRATCH.new()
    file.append(value)
    return file


def repr_of_swap(value: object) -> str:
    return f"{value!r:.8}"


async def listed(namespace: KvNamespace, prefix: str, limit: int) -> list[str]:
    names: list[str] = []
    cursor: str | None = None
    while True:
        page = await namespace.list(prefix, limit, cursor)
        assert len(page.keys) <= limit
        names += [key.name for key in page.keys]
        cursor = page.cursor
        if cursor is None:
            return names


async def test_absent_key_is_none(namespace: KvNamespace) -> None:
    assert await get(namespace, "nothing") is None


@pytest.mark.parametrize("value", [b"", b"\x00\xff", b"v" * 65_536, b"v" * 65_537, b"v" * 2 * MIB], ids=len)
async def test_value_comes_back_with_metadata_and_expiration(namespace: KvNamespace, value: bytes) -> None:
    entry = KvEntry(value, '{"a":1}', 1_000_060)
    await namespace.put("k", entry)
    assert await get(namespace, "k") == entry


@pytest.mark.parametrize("namespace", ["memory", "sqlite"], indirect=True)
async def test_up_to_64_kib_is_answered_at_once_and_above_it_is_awaited(namespace: KvNamespace) -> None:
    await namespace.put("small", KvEntry(b"v" * 65_536))
    await namespace.put("large", KvEntry(b"v" * 65_537))
    assert isinstance(namespace.get("small"), KvEntry)
    large = namespace.get("large")
    assert inspect.isawaitable(large)
    await large


async def test_put_replaces_metadata_and_expiration_too(namespace: KvNamespace) -> None:
    await namespace.put("k", KvEntry(b"1", "1", 1_000_060))
    await namespace.put("k", KvEntry(b"2"))
    assert await get(namespace, "k") == KvEntry(b"2", None, None)


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, MIB, MIB + 1, 25 * MIB])
async def test_large_value_goes_in_and_out_without_being_held(namespace: KvNamespace, size: int) -> None:
    value = (b"0123456789abcdef!" * (size // 17 + 1))[:size]
    file = stored(value)
    await namespace.put("k", KvLargeEntry(file, '{"a":1}', 1_000_060))
    file.close()
    assert await opened(namespace, "k") == KvEntry(value, '{"a":1}', 1_000_060)
    assert await get(namespace, "k") == KvEntry(value, '{"a":1}', 1_000_060)
    assert await opened(namespace, "absent") is None
    assert (SCRATCH.held, SCRATCH.files) == (0, 0)


async def test_large_value_is_swapped_in_only_for_the_one_expected(namespace: KvNamespace) -> None:
    file = stored(b"n" * 2 * MIB)
    await namespace.put("k", KvEntry(b"old"))
    assert not await namespace.compare_and_swap("k", b"other", KvLargeEntry(file))
    assert await get(namespace, "k") == KvEntry(b"old")
    assert await namespace.compare_and_swap("k", b"old", KvLargeEntry(file))
    file.close()
    assert await opened(namespace, "k") == KvEntry(b"n" * 2 * MIB)
    assert SCRATCH.files == 0


async def test_who_reads_while_a_large_value_is_replaced_sees_one_or_the_other(
    namespace: KvNamespace,
) -> None:
    values = [bytes([letter]) * (MIB + 1_000 * letter) for letter in b"ab"]
    await namespace.put("k", KvEntry(values[0]))
    reads = [0, 0, 0]

    async def write() -> None:
        number = 0
        while min(reads) < 4:
            number += 1
            file = stored(values[number % 2])
            await namespace.put("k", KvLargeEntry(file))
            file.close()
            await asyncio.sleep(0)

    async def read(reader: int) -> None:
        while min(reads) < 4:
            entry = await opened(namespace, "k")
            assert entry is not None
            assert entry.value in values
            reads[reader] += 1

    async with asyncio.timeout(100):
        await asyncio.gather(write(), *(read(reader) for reader in range(3)))
    assert (SCRATCH.held, SCRATCH.files) == (0, 0)


async def test_value_that_is_open_stays_what_it_was(namespace: KvNamespace) -> None:
    await namespace.put("k", KvEntry(b"a" * 2 * MIB))
    found = namespace.open("k")
    assert inspect.isawaitable(found)
    entry = await found
    assert isinstance(entry, KvLargeEntry)
    await namespace.put("k", KvEntry(b"b" * 2 * MIB))
    await namespace.delete("k")
    assert entry.value.read_at(0, 3 * MIB) == b"a" * 2 * MIB
    entry.value.close()


async def test_who_is_cancelled_while_a_large_value_is_fetched_leaves_nothing_open(
    namespace: KvNamespace,
) -> None:
    await namespace.put("k", KvEntry(b"a" * 25 * MIB))
    for turns in range(12):
        task = asyncio.ensure_future(opened(namespace, "k"))
        for _ in range(turns):
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    async with asyncio.timeout(60):
        while SCRATCH.files:
            gc.collect()  # what was given to who had just gone
            await asyncio.sleep(0.01)
    assert SCRATCH.held == 0


async def test_delete_is_idempotent(namespace: KvNamespace) -> None:
    await namespace.put("k", KvEntry(b"1"))
    await namespace.delete("k")
    await namespace.delete("k")
    assert await get(namespace, "k") is None


@pytest.mark.parametrize(
    ("passed_s", "alive"),
    [
        (59.9, True),
        (60.0, False),  # at its second it is gone
        (61.0, False),
    ],
)
@pytest.mark.parametrize("size", [1, 70_000])
async def test_expired_key_is_gone_at_once_for_every_reader(
    namespace: KvNamespace, clock: Clock, passed_s: float, alive: bool, size: int
) -> None:
    await namespace.put("k", KvEntry(b"v" * size, None, int(clock.now) + 60))
    clock.now += passed_s
    assert (await get(namespace, "k") is not None) is alive
    assert ("k" in await get_many(namespace, ["k"])) is alive
    assert (await listed(namespace, "", 10) == ["k"]) is alive


async def test_key_can_be_written_again_after_it_expired(namespace: KvNamespace, clock: Clock) -> None:
    await namespace.put("k", KvEntry(b"1", None, int(clock.now) + 60))
    clock.now += 100
    await namespace.put("k", KvEntry(b"2"))
    assert await get(namespace, "k") == KvEntry(b"2")


async def test_get_many_answers_those_that_exist(namespace: KvNamespace) -> None:
    for number in range(12):  # more than are read on the loop's thread
        await namespace.put(f"k{number}", KvEntry(b"v%d" % number))
    found = await get_many(namespace, [f"k{number}" for number in range(20)])
    assert found == {f"k{number}": KvEntry(b"v%d" % number) for number in range(12)}


@pytest.mark.parametrize(("max_bytes", "refused"), [(2000, False), (1999, True)])
async def test_get_many_is_bounded_in_bytes(namespace: KvNamespace, max_bytes: int, refused: bool) -> None:
    await namespace.put("a", KvEntry(b"v" * 1000))
    await namespace.put("b", KvEntry(b"v" * 1000))
    if not refused:
        assert len(await get_many(namespace, ["a", "b"], max_bytes)) == 2
        return
    with pytest.raises(OperationError, match="2000 bytes") as caught:
        await get_many(namespace, ["a", "b"], max_bytes)
    assert caught.value.code is OperationErrorCode.LIMIT_EXCEEDED


@pytest.mark.parametrize(
    ("value", "delta", "total"),
    [
        (None, 1, 1),
        (None, -5, -5),
        (b"0", 0, 0),
        (b"41", 1, 42),
        (b"-1", 1, 0),
        (b"9223372036854775806", 1, (1 << 63) - 1),
        (b"9223372036854775807", 1, None),  # beyond 64 bits
        (b"-9223372036854775808", 0, -(1 << 63)),
        (b"-9223372036854775808", -1, None),
        (b"9223372036854775808", -1, None),  # no 64-bit integer
        (b"", 1, None),
        (b"01", 1, None),
        (b"+1", 1, None),
        (b"1 ", 1, None),
        (b"1.0", 1, None),
        ("٣".encode(), 1, None),  # a digit, and none of ours
    ],
)
async def test_increment_adds_to_a_decimal_integer_and_to_nothing_else(
    namespace: KvNamespace, value: bytes | None, delta: int, total: int | None
) -> None:
    if value is not None:
        await namespace.put("k", KvEntry(value))
    if total is not None:
        assert await namespace.increment("k", delta) == total
        assert await get(namespace, "k") == KvEntry(str(total).encode())
        return
    with pytest.raises(OperationError) as caught:
        await namespace.increment("k", delta)
    assert caught.value.code is OperationErrorCode.INVALID_ARGUMENT
    entry = await get(namespace, "k")
    assert entry is not None
    assert entry.value == value


async def test_increment_keeps_metadata_and_expiration(namespace: KvNamespace, clock: Clock) -> None:
    await namespace.put("k", KvEntry(b"1", '"m"', int(clock.now) + 60))
    assert await namespace.increment("k", 1) == 2
    assert await get(namespace, "k") == KvEntry(b"2", '"m"', int(clock.now) + 60)
    clock.now += 60
    assert await namespace.increment("k", 5) == 5  # an expired key is an absent one
    assert await get(namespace, "k") == KvEntry(b"5")


async def test_increments_at_once_are_all_counted(namespace: KvNamespace) -> None:
    sums = await asyncio.gather(*(namespace.increment("k", 1) for _ in range(50)))
    assert sorted(sums) == list(range(1, 51))


@pytest.mark.parametrize(
    ("held", "expected", "swapped"),
    [
        (None, None, True),
        (None, b"", False),
        (b"", None, False),
        (b"a", b"a", True),
        (b"a", b"b", False),
        (b"v" * 70_000, b"v" * 70_000, True),
        (b"v" * 2 * MIB, b"v" * 2 * MIB, True),
        (b"v" * 2 * MIB, b"v" * (2 * MIB - 1) + b"w", False),
    ],
    ids=repr_of_swap,
)
async def test_compare_and_swap_writes_only_over_what_was_expected(
    namespace: KvNamespace, held: bytes | None, expected: bytes | None, swapped: bool
) -> None:
    if held is not None:
        await namespace.put("k", KvEntry(held, "1"))
    assert await namespace.compare_and_swap("k", expected, KvEntry(b"new", "2")) is swapped
    if swapped:
        assert await get(namespace, "k") == KvEntry(b"new", "2")
    else:
        assert await get(namespace, "k") == (None if held is None else KvEntry(held, "1"))


async def test_of_many_swaps_at_once_one_wins(namespace: KvNamespace) -> None:
    for expected in (None, b"0"):
        won = await asyncio.gather(
            *(namespace.compare_and_swap("k", expected, KvEntry(b"0")) for _ in range(10))
        )
        assert sum(won) == (1 if expected is None else 10)  # 0 is swapped for 0
    won = await asyncio.gather(
        *(namespace.compare_and_swap("k", b"0", KvEntry(b"%d" % number)) for number in range(1, 11))
    )
    assert sum(won) == 1
    assert await get(namespace, "k") == KvEntry(b"%d" % (won.index(True) + 1))


async def test_expired_key_is_absent_to_a_swap(namespace: KvNamespace, clock: Clock) -> None:
    await namespace.put("k", KvEntry(b"old", None, int(clock.now) + 60))
    clock.now += 60
    assert not await namespace.compare_and_swap("k", b"old", KvEntry(b"new"))
    assert await namespace.compare_and_swap("k", None, KvEntry(b"new"))
    assert await get(namespace, "k") == KvEntry(b"new")


KEYS_IN_BYTE_ORDER = [
    "\x00",
    "A",
    "Z",
    "a",
    "a\x00",
    "a\x00b",
    "aa",
    "b",
    "ä",
    "￿",  # U+FFFF: before U+10000 in UTF-8, after it in UTF-16
    "\U00010000",
    "\U0010ffff",
]


@pytest.mark.parametrize("limit", [1, 2, 5, 1000])
async def test_list_is_in_utf8_byte_order_whatever_the_page(namespace: KvNamespace, limit: int) -> None:
    for key in reversed(KEYS_IN_BYTE_ORDER):
        await namespace.put(key, KvEntry(b""))
    assert await listed(namespace, "", limit) == KEYS_IN_BYTE_ORDER


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("", ["a", "a%", "ab", "a\U0010ffff", "b"]),
        ("a", ["a", "a%", "ab", "a\U0010ffff"]),
        ("a%", ["a%"]),  # no wildcard
        ("a\U0010ffff", ["a\U0010ffff"]),
        ("c", []),
    ],
)
async def test_prefix_is_bytes_and_no_pattern(
    namespace: KvNamespace, prefix: str, expected: list[str]
) -> None:
    for key in ["b", "a", "ab", "a%", "a\U0010ffff"]:
        await namespace.put(key, KvEntry(b""))
    assert await listed(namespace, prefix, 2) == expected


async def test_list_shows_metadata_and_expiration(namespace: KvNamespace) -> None:
    await namespace.put("k", KvEntry(b"v", '"m"', 1_000_060))
    (key,) = (await namespace.list("", 10, None)).keys
    assert (key.name, key.metadata, key.expiration) == ("k", '"m"', 1_000_060)


async def test_exactly_full_page_has_no_cursor(namespace: KvNamespace) -> None:
    await namespace.put("a", KvEntry(b""))
    await namespace.put("b", KvEntry(b""))
    assert (await namespace.list("", 2, None)).cursor is None
    assert (await namespace.list("", 1, None)).cursor is not None


async def test_cursor_stays_right_while_keys_are_written(namespace: KvNamespace) -> None:
    for key in ["b", "d", "f"]:
        await namespace.put(key, KvEntry(b""))
    first = await namespace.list("", 2, None)
    assert [key.name for key in first.keys] == ["b", "d"]
    await namespace.delete("d")  # the very key that the cursor names
    await namespace.put("a", KvEntry(b""))  # before it: already passed
    await namespace.put("e", KvEntry(b""))
    rest = await namespace.list("", 2, first.cursor)
    assert [key.name for key in rest.keys] == ["e", "f"]


@pytest.mark.parametrize("damage", ["", "x", "ä", "AAAA", "=" * 20, "flip", "other prefix"])
async def test_cursor_that_was_not_given_is_refused(namespace: KvNamespace, damage: str) -> None:
    for key in ["a1", "a2", "a3"]:
        await namespace.put(key, KvEntry(b""))
    given = (await namespace.list("a", 1, None)).cursor
    assert given is not None
    prefix, cursor = "a", damage
    if damage == "flip":
        cursor = given[:-1] + ("A" if given[-1] != "A" else "Q")
    elif damage == "other prefix":
        prefix, cursor = "", given
    with pytest.raises(OperationError, match="cursor") as caught:
        await namespace.list(prefix, 1, cursor)
    assert caught.value.code is OperationErrorCode.INVALID_ARGUMENT


async def test_page_is_bounded_in_bytes_too(namespace: KvNamespace) -> None:
    metadata = '"' + "m" * 1022 + '"'
    expected = [f"{number:0512d}" for number in range(500)]
    for key in expected:
        await namespace.put(key, KvEntry(b"", metadata))
    page = await namespace.list("", 1000, None)
    assert 0 < len(page.keys) < 500
    assert page.cursor is not None
    assert await listed(namespace, "", 1000) == expected
