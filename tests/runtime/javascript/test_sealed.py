"""A delta becomes a worker's memory: none is taken whose bytes, key, bundle or engine are not those it was sealed
with.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.aot_cache import SMALL_BYTES, AotCache, ImageUnavailable, ModuleFacts
from runtime.javascript.sealed import NotOurs, ScriptFacts, Sealer, Whose

KEY = b"k" * 32
DIGEST, OTHER, ENGINE = "ab" * 32, "cd" * 32, "ef" * 32
WHOSE = Whose(b"b" * 32, b"f" * 16, b"j" * 32)
FACTS = ScriptFacts(frozenset({"fetch", "queue"}), ("Api",))
DELTA = bytes(range(256)) * 8


def test_what_was_sealed_comes_back() -> None:
    sealed = Sealer(KEY).seal(WHOSE, FACTS, DELTA)
    found = Sealer(KEY).unseal(WHOSE, sealed)
    assert (found.facts, found.delta, found.size) == (FACTS, DELTA, len(sealed))


def test_every_flipped_byte_is_found() -> None:
    sealed = Sealer(KEY).seal(WHOSE, FACTS, DELTA[:40])
    for at in range(len(sealed)):
        forged = bytearray(sealed)
        forged[at] ^= 1
        with pytest.raises(NotOurs, match="MAC"):
            Sealer(KEY).unseal(WHOSE, bytes(forged))
    for size in (0, 10, 80, len(sealed) - 1):
        with pytest.raises(NotOurs):
            Sealer(KEY).unseal(WHOSE, sealed[:size])


def test_delta_of_something_else_is_refused() -> None:
    sealed = Sealer(KEY).seal(WHOSE, FACTS, DELTA)
    for other in (
        replace(WHOSE, bundle=b"x" * 32),
        replace(WHOSE, fingerprint=b"x" * 16),
        replace(WHOSE, javascript=b"x" * 32),
    ):
        with pytest.raises(NotOurs, match="another bundle or engine"):
            Sealer(KEY).unseal(other, sealed)
    with pytest.raises(NotOurs, match="MAC"):
        Sealer(b"x" * 32).unseal(WHOSE, sealed)


def test_delta_of_another_release_s_format_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as older:
        older.setattr("runtime.javascript.sealed._FORMAT", 0)
        sealed = Sealer(KEY).seal(WHOSE, FACTS, DELTA)
    with pytest.raises(NotOurs, match="format 0, and this release reads 1"):
        Sealer(KEY).unseal(WHOSE, sealed)


@pytest.fixture
def cache(tmp_path: Path) -> AotCache:
    made = AotCache(tmp_path / "aot", KEY, ENGINE)
    made.store_delta(DIGEST, FACTS, DELTA)
    return made


def test_stored_delta_is_read_again(cache: AotCache, tmp_path: Path) -> None:
    found = cache.read_delta(DIGEST)
    assert (found.facts, found.delta, found.size) == (FACTS, DELTA, cache.size(DIGEST))
    assert cache.read_small_delta(DIGEST) == found
    assert cache.has(DIGEST)
    assert not cache.has(OTHER)
    assert list(cache.digests()) == [DIGEST]
    cache.check(DIGEST)
    [file] = (tmp_path / "aot").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_large_delta_is_left_to_a_thread(cache: AotCache) -> None:
    cache.store_delta(OTHER, FACTS, bytes(SMALL_BYTES))
    assert cache.read_small_delta(OTHER) is None
    assert len(cache.read_delta(OTHER).delta) == SMALL_BYTES


def test_delta_under_another_name_is_refused(cache: AotCache, tmp_path: Path) -> None:
    [file] = (tmp_path / "aot").iterdir()
    file.with_name(file.name.replace(DIGEST, OTHER)).write_bytes(file.read_bytes())
    with pytest.raises(ImageUnavailable, match="another bundle"):
        cache.read_delta(OTHER)
    with pytest.raises(ImageUnavailable, match="another bundle"):
        cache.check(OTHER)
    with pytest.raises(ImageUnavailable, match="never loaded"):
        cache.read_delta("11" * 32)


def test_image_and_delta_do_not_pass_for_each_other(cache: AotCache, tmp_path: Path) -> None:
    cache.store(OTHER, ModuleFacts(False), DELTA)
    [image], [delta] = (list((tmp_path / "aot").glob(f"*.{kind}")) for kind in ("cwasm", "delta"))
    image_bytes, delta_bytes = image.read_bytes(), delta.read_bytes()
    image.write_bytes(delta_bytes)
    delta.write_bytes(image_bytes)
    with pytest.raises(ImageUnavailable, match="MAC"):
        cache.open(OTHER)
    with pytest.raises(ImageUnavailable, match="MAC"):
        cache.read_delta(DIGEST)


def test_delta_of_another_build_of_the_engine_is_not_there_and_goes_in_time(
    tmp_path: Path, cache: AotCache
) -> None:
    later = AotCache(tmp_path / "aot", KEY, "12" * 32)
    assert not later.has(DIGEST)
    assert list(later.digests()) == []
    assert later.remove_foreign(3600.0) == 0
    for file in (tmp_path / "aot").iterdir():
        os.utime(file, (time.time() - 4000,) * 2)
    assert cache.remove_foreign(3600.0) == 0
    assert later.remove_foreign(3600.0) == 1
    assert not cache.has(DIGEST)


def test_leftover_delta_is_removed_when_it_is_old_and_untouched(tmp_path: Path, cache: AotCache) -> None:
    [file] = (tmp_path / "aot").iterdir()
    os.utime(file, (time.time() - 4000,) * 2)
    cache.touch(DIGEST)
    assert cache.remove_stale(DIGEST, 3600.0) == 0
    size = cache.size(DIGEST)
    os.utime(file, (time.time() - 4000,) * 2)
    assert cache.remove_stale(DIGEST, 3600.0) == size
    assert not cache.has(DIGEST)


def test_the_engine_s_own_image_is_no_leftover(cache: AotCache) -> None:
    """No script refers to it."""
    cache.store(ENGINE, ModuleFacts(False), DELTA)
    assert list(cache.digests()) == [DIGEST]
    cache.check(ENGINE)
