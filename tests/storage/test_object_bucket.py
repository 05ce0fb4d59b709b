"""What a bucket's failures are told as, in time and without the key; and that the next call finds it well again."""

from __future__ import annotations

import concurrent.futures
import hashlib
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from storage.failures import StorageBusy, StorageError, StorageLost
from storage.object_bucket import (
    BucketDenied,
    BucketKey,
    BucketLimits,
    BucketMissing,
    BucketObjects,
    BucketPlace,
    BucketSlow,
    BucketUnreachable,
    parse_bucket,
    parse_endpoint,
    parse_key,
)
from storage.object_cache import CachedObjectStore
from storage.object_store import FolderObjectStore
from tests.support.s3 import S3Server

DATA = b"\0asm module bytes"
DIGEST = hashlib.sha256(DATA).hexdigest()
QUICK = BucketLimits(connect_s=1, request_s=1, retry_s=0.5)


def calls(objects: BucketObjects) -> list[tuple[str, BaseException | None]]:
    """What each of them raises."""
    found: list[tuple[str, BaseException | None]] = []
    for name, call in (
        ("store", lambda: objects.store(DIGEST, DATA)),
        ("fetch", lambda: objects.fetch(DIGEST)),
        ("exists", lambda: objects.exists(DIGEST)),
        ("digests", lambda: list(objects.digests())),
        ("remove_stale", lambda: objects.remove_stale(DIGEST, -10)),
        ("probe", objects.probe),
    ):
        try:
            call()
        except StorageError as error:
            found.append((name, error))
        else:
            found.append((name, None))
    return found


@pytest.mark.parametrize("who", ["a guest", "nobody", "a forger"])
def test_who_may_not_is_told_so_and_the_key_is_in_no_word(
    s3: S3Server, bucket: BucketPlace, who: str
) -> None:
    keys = {
        "a guest": s3.guest,
        "nobody": BucketKey("tests:nobody", "secret-of-nobody"),
        "a forger": replace(s3.key, secret="guessed-secret"),
    }
    key = keys[who]
    BucketObjects(bucket, s3.key).store(DIGEST, DATA)
    for name, error in calls(BucketObjects(bucket, key)):
        assert type(error) is BucketDenied, name
        text = f"{error!r} {error} {error.message} {error.detail} {error.__cause__!r}"
        assert key.id not in text
        assert key.secret not in text
    assert key.secret not in repr(key)


def test_bucket_that_is_not_there_is_told_so(s3: S3Server, bucket: BucketPlace) -> None:
    errors = dict(calls(BucketObjects(replace(bucket, bucket="nowhere"), s3.key)))
    # A server answers a HEAD without a word: whether object or bucket are missing is not known then.
    assert errors.pop("exists") is None
    assert errors.pop("remove_stale") is None
    assert {type(error) for error in errors.values()} == {BucketMissing}


def test_server_that_is_away_is_told_at_once_and_used_again_when_it_is_back(
    own_s3: S3Server, tmp_path: Path
) -> None:
    objects = BucketObjects(own_s3.place("p"), own_s3.key)
    store = CachedObjectStore(FolderObjectStore(tmp_path), objects)
    store.put(DATA)
    own_s3.stop()
    began = time.monotonic()
    for name, error in calls(objects):
        assert type(error) is BucketUnreachable, name
        assert isinstance(error, StorageLost)
    assert time.monotonic() - began < 30
    with pytest.raises(BucketUnreachable):
        store.put(b"while it is away")
    assert store.get(DIGEST) == DATA  # of the folder
    own_s3.start()
    assert objects.fetch(DIGEST) == DATA
    other = store.put(b"after")
    assert set(objects.digests()) == {DIGEST, other}


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections and never says anything."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield listener.getsockname()[1]


def test_server_that_does_not_answer_is_given_up_in_time(silent: int) -> None:
    objects = BucketObjects(
        BucketPlace("modules", "", f"http://127.0.0.1:{silent}"), BucketKey("i", "s"), QUICK
    )
    for name, error in calls(objects):
        assert type(error) is BucketSlow, name
        assert isinstance(error, StorageBusy)
    began = time.monotonic()
    with pytest.raises(BucketSlow):
        objects.fetch(DIGEST)
    assert time.monotonic() - began < QUICK.request_s + QUICK.retry_s + 5


def test_server_that_hangs_does_not_keep_everybodys_threads(silent: int) -> None:
    limits = BucketLimits(connect_s=1, request_s=4, retry_s=0.5, at_once=2, turn_s=0.1)
    objects = BucketObjects(
        BucketPlace("modules", "", f"http://127.0.0.1:{silent}"), BucketKey("i", "s"), limits
    )

    def fetch() -> float:
        began = time.monotonic()
        with pytest.raises(BucketSlow):
            objects.fetch(DIGEST)
        return time.monotonic() - began

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        took = sorted(pool.map(lambda _: fetch(), range(6)))
    assert took[3] < 3 < took[4]  # two waited for an answer, four for a turn
    with pytest.raises(BucketSlow, match="in time"):
        objects.fetch(DIGEST)  # the turns were given back


def test_bytes_that_are_other_than_their_name_are_refused_and_kept_nowhere(
    s3: S3Server, bucket: BucketPlace, tmp_path: Path
) -> None:
    objects = BucketObjects(bucket, s3.key)
    objects.store(DIGEST, b"forged")
    store = CachedObjectStore(FolderObjectStore(tmp_path), objects)
    with pytest.raises(StorageLost, match="damaged in the bucket"):
        store.get(DIGEST)
    assert list(FolderObjectStore(tmp_path).digests()) == []
    store.put(DATA)
    assert objects.fetch(DIGEST) == DATA


def test_other_peoples_objects_of_the_bucket_are_not_looked_at(s3: S3Server, bucket: BucketPlace) -> None:
    mine, theirs = (
        BucketObjects(bucket, s3.key),
        BucketObjects(replace(bucket, prefix=f"{bucket.prefix}/more"), s3.key),
    )
    theirs.store(DIGEST, DATA)
    assert list(mine.digests()) == []
    assert mine.remove_stale(DIGEST, -10) == 0
    assert list(theirs.digests()) == [DIGEST]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("s3://mods", ("mods", "")),
        ("s3://my.mods-1/", ("my.mods-1", "")),
        ("s3://mods/a/b.c_d", ("mods", "a/b.c_d")),
        ("s3://mods/a/", ("mods", "a")),
        ("s3://mo", None),  # a bucket's name has 3 letters at least
        ("s3://Mods", None),
        ("s3://mods//a", None),
        ("s3://mods/a/../b", None),
        ("s3://key:secret@mods/a", None),
        ("https://mods", None),
        ("mods", None),
        ("s3://mods/a b", None),
    ],
)
def test_which_words_name_a_bucket(text: str, found: tuple[str, str] | None) -> None:
    if found is None:
        with pytest.raises(ValueError, match="s3://BUCKET"):
            parse_bucket(text)
    else:
        assert parse_bucket(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s3.example.com",
        "ftp://a",
        "https://",
        "https://k:s@a",
        "https://a/b",
        "https://a?b",
        "https://a:x",
    ],
)
def test_what_is_no_endpoint_is_refused_without_a_word_of_it(text: str) -> None:
    with pytest.raises(ValueError, match="no https://HOST") as refused:
        parse_endpoint(text)
    assert "k:s" not in str(refused.value)


def test_endpoints_and_their_ports() -> None:
    assert parse_endpoint("https://s3.example.com/") == "https://s3.example.com"
    assert BucketPlace("b", endpoint="https://s3.example.com").port == 443
    assert BucketPlace("b", endpoint="http://s3.example.com").port == 80
    assert BucketPlace("b", endpoint="http://[::1]:9000").port == 9000
    assert BucketPlace("b").port == 443


@pytest.mark.parametrize("text", ["id\nsecret/+=\n", "id:secret/+=", " id \n secret/+= \n"])
def test_keys_in_two_lines_or_one(text: str) -> None:
    assert parse_key(text) == BucketKey("id", "secret/+=")


@pytest.mark.parametrize("text", ["", "id", "a b c", "id\nsecret\nmore", "id:"])
def test_what_is_no_key_is_refused_without_a_word_of_it(text: str) -> None:
    with pytest.raises(ValueError, match="one line each"):
        parse_key(text)
