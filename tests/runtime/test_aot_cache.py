"""An AOT image is native code: none is lent whose bytes, key, module, engine or facts are not those it was
stored with.
"""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

from runtime.aot_cache import AotCache, ImageUnavailable, ModuleFacts, OpenImage

KEY = b"k" * 32
DIGEST = "ab" * 32
IMAGE = bytes(range(256)) * 64


@pytest.fixture
def cache(tmp_path: Path) -> AotCache:
    made = AotCache(tmp_path / "aot", KEY)
    made.store(DIGEST, ModuleFacts(initialize=True), IMAGE)
    return made


def file_of(tmp_path: Path) -> Path:
    [found] = (tmp_path / "aot").iterdir()
    return found


def image_in(image: OpenImage) -> bytes:
    """What the library would map, without the seal."""
    whole = Path(image.path).read_bytes()
    assert image.size == len(whole)
    return whole[: len(IMAGE)]


def refused(cache: AotCache, digest: str = DIGEST) -> str:
    descriptors = len(os.listdir("/proc/self/fd"))
    told = []
    for opening in (cache.open, cache.open_small):
        with pytest.raises(ImageUnavailable) as caught:
            opening(digest)
        told.append(str(caught.value))
    assert len(os.listdir("/proc/self/fd")) <= descriptors
    assert told[0] == told[1]
    return told[0]


def test_what_was_stored_is_lent_with_its_facts(cache: AotCache) -> None:
    gc.collect()  # so that nothing that others left is closed meanwhile
    descriptors = len(os.listdir("/proc/self/fd"))
    for opening in (cache.open, cache.open_small):
        image = opening(DIGEST)
        assert image is not None
        with image:
            assert image_in(image) == IMAGE
            assert (image.size, image.facts.initialize) == (cache.size(DIGEST), True)
    assert cache.has(DIGEST)
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_a_large_image_is_verified_piece_by_piece_and_by_nobody_who_is_in_a_hurry(tmp_path: Path) -> None:
    cache = AotCache(tmp_path / "aot", KEY)
    large = os.urandom(2 * 1024 * 1024 + 7)
    cache.store(DIGEST, ModuleFacts(initialize=False), large)
    gc.collect()  # so that nothing that others left is closed meanwhile
    descriptors = len(os.listdir("/proc/self/fd"))
    assert cache.open_small(DIGEST) is None
    with cache.open(DIGEST) as image:
        assert Path(image.path).read_bytes()[: len(large)] == large
    path = file_of(tmp_path)
    for position in (0, 1024 * 1024, len(large) - 1):
        data = bytearray(path.read_bytes())
        data[position] ^= 1
        path.write_bytes(data)
        with pytest.raises(ImageUnavailable, match="MAC is wrong"):
            cache.open(DIGEST)
        data[position] ^= 1
        path.write_bytes(data)
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_folder_and_files_are_the_owners_alone(cache: AotCache, tmp_path: Path) -> None:
    assert (tmp_path / "aot").stat().st_mode & 0o777 == 0o700
    assert file_of(tmp_path).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("position", [0, len(IMAGE) // 2, len(IMAGE) - 1])
def test_flipped_byte_in_the_image_is_found(cache: AotCache, tmp_path: Path, position: int) -> None:
    path = file_of(tmp_path)
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
    assert "MAC is wrong" in refused(cache)


@pytest.mark.parametrize("kept", [0, 1, 80, 81, 82, len(IMAGE)])
def test_image_cut_short_is_refused(cache: AotCache, tmp_path: Path, kept: int) -> None:
    path = file_of(tmp_path)
    path.write_bytes(path.read_bytes()[:kept])
    assert refused(cache) in (
        "it is cut off",
        "its MAC is wrong: the file was damaged, or written by someone else",
    )


@pytest.mark.parametrize("change", [b"", b"\0"])
def test_image_cut_or_longer_is_found(cache: AotCache, tmp_path: Path, change: bytes) -> None:
    path = file_of(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole + change if change else whole[:-1])
    assert "MAC is wrong" in refused(cache)


def test_every_flipped_byte_of_the_seal_is_found(cache: AotCache, tmp_path: Path) -> None:
    path = file_of(tmp_path)
    good = path.read_bytes()
    for position in range(len(IMAGE), len(good)):
        data = bytearray(good)
        data[position] ^= 1
        path.write_bytes(data)
        assert "MAC is wrong" in refused(cache)
    path.write_bytes(good)
    with cache.open(DIGEST):
        pass


def test_an_image_behind_another_ones_seal_is_found(cache: AotCache, tmp_path: Path) -> None:
    path = file_of(tmp_path)
    seal = path.read_bytes()[len(IMAGE) :]
    path.write_bytes(IMAGE[::-1] + seal)
    assert "MAC is wrong" in refused(cache)
    path.write_bytes(IMAGE + seal + seal)
    assert "MAC is wrong" in refused(cache)


def test_other_key_refuses(cache: AotCache, tmp_path: Path) -> None:
    assert "MAC is wrong" in refused(AotCache(tmp_path / "aot", b"K" * 32))


def test_other_digest_refuses_although_the_file_is_whole(cache: AotCache, tmp_path: Path) -> None:
    other = "cd" * 32
    path = file_of(tmp_path)
    path.with_name(path.name.replace(DIGEST, other)).write_bytes(path.read_bytes())
    assert "another module" in refused(cache, other)


def test_other_engine_finds_nothing_and_refuses_renamed_files(
    cache: AotCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.aot_cache.fingerprint", lambda: b"f" * 16)
    other = AotCache(tmp_path / "aot", KEY)
    assert "never compiled" in refused(other)
    assert not other.has(DIGEST)
    path = file_of(tmp_path)
    path.rename(path.with_name(f"{DIGEST}-{(b'f' * 16).hex()}.cwasm"))
    assert "another module or engine" in refused(other)


def test_missing_file_is_told_and_leaves_no_descriptor(cache: AotCache, tmp_path: Path) -> None:
    file_of(tmp_path).unlink()
    assert "never compiled" in refused(cache)
    assert not cache.has(DIGEST)


def test_file_that_can_not_be_read_is_told(cache: AotCache, tmp_path: Path) -> None:
    path = file_of(tmp_path)
    path.unlink()
    path.mkdir()
    assert "can't be read" in refused(cache)


def test_file_replaced_after_it_was_verified_is_not_what_is_mapped(cache: AotCache, tmp_path: Path) -> None:
    path = file_of(tmp_path)
    with cache.open(DIGEST) as image:
        forged = tmp_path / "forged"
        forged.write_bytes(b"evil" * 4096)
        forged.rename(path)
        assert image_in(image) == IMAGE
    assert "MAC is wrong" in refused(cache)


def test_storing_again_replaces_the_file_and_leaves_no_other(cache: AotCache, tmp_path: Path) -> None:
    cache.store(DIGEST, ModuleFacts(initialize=False), IMAGE[::-1])
    with cache.open(DIGEST) as image:
        assert image_in(image) == IMAGE[::-1]
        assert not image.facts.initialize
    assert file_of(tmp_path).name.startswith(DIGEST)
