"""An AOT image is native code: none is lent whose bytes, key, module, engine or facts are not those it was
stored with.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgpack
import pytest

from runtime.aot_cache import AotCache, ImageUnavailable, ModuleFacts

KEY = b"k" * 32
DIGEST = "ab" * 32
IMAGE = bytes(range(256)) * 64


@pytest.fixture
def cache(tmp_path: Path) -> AotCache:
    made = AotCache(tmp_path / "aot", KEY)
    made.store(DIGEST, ModuleFacts(initialize=True), IMAGE)
    return made


def file_of(tmp_path: Path, suffix: str) -> Path:
    [found] = (tmp_path / "aot").glob(f"*{suffix}")
    return found


def refused(cache: AotCache, digest: str = DIGEST) -> str:
    descriptors = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ImageUnavailable) as caught, cache.open(digest):
        pass
    assert len(os.listdir("/proc/self/fd")) == descriptors
    return str(caught.value)


def test_what_was_stored_is_lent_with_its_facts(cache: AotCache) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    with cache.open(DIGEST) as image:
        assert Path(image.path).read_bytes() == IMAGE
        assert (image.size, image.facts.initialize) == (len(IMAGE), True)
    assert cache.has(DIGEST)
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_folder_and_files_are_the_owners_alone(cache: AotCache, tmp_path: Path) -> None:
    assert (tmp_path / "aot").stat().st_mode & 0o777 == 0o700
    for suffix in (".cwasm", ".mac"):
        assert file_of(tmp_path, suffix).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("position", [0, len(IMAGE) // 2, len(IMAGE) - 1])
def test_flipped_byte_in_the_image_is_found(cache: AotCache, tmp_path: Path, position: int) -> None:
    path = file_of(tmp_path, ".cwasm")
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
    assert "MAC is wrong" in refused(cache)


@pytest.mark.parametrize("change", [b"", b"\0"])
def test_image_cut_or_longer_is_found(cache: AotCache, tmp_path: Path, change: bytes) -> None:
    path = file_of(tmp_path, ".cwasm")
    path.write_bytes(IMAGE + change if change else IMAGE[:-1])
    assert "MAC is wrong" in refused(cache)


def test_every_flipped_byte_of_the_side_file_is_found(cache: AotCache, tmp_path: Path) -> None:
    path = file_of(tmp_path, ".mac")
    good = path.read_bytes()
    for position in range(len(good)):
        data = bytearray(good)
        data[position] ^= 1
        path.write_bytes(data)
        assert refused(cache)
    path.write_bytes(good)
    with cache.open(DIGEST):
        pass


@pytest.mark.parametrize(
    "side",
    [
        b"",
        b"\xc1",
        b"junk",
        msgpack.packb([]),
        msgpack.packb([1, 2]),
        msgpack.packb([b"m", "s"]),
        msgpack.packb({}),
    ],
)
def test_damaged_side_file_is_refused(cache: AotCache, tmp_path: Path, side: bytes) -> None:
    file_of(tmp_path, ".mac").write_bytes(side)
    assert "damaged" in refused(cache)


def test_other_key_refuses(cache: AotCache, tmp_path: Path) -> None:
    assert "MAC is wrong" in refused(AotCache(tmp_path / "aot", b"K" * 32))


def test_other_digest_refuses_although_the_files_are_whole(cache: AotCache, tmp_path: Path) -> None:
    other = "cd" * 32
    for suffix in (".cwasm", ".mac"):
        path = file_of(tmp_path, suffix)
        path.with_name(path.name.replace(DIGEST, other)).write_bytes(path.read_bytes())
    assert "MAC is wrong" in refused(cache, other)


def test_other_engine_finds_nothing_and_refuses_renamed_files(
    cache: AotCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.aot_cache.fingerprint", lambda: b"f" * 16)
    other = AotCache(tmp_path / "aot", KEY)
    assert "never compiled" in refused(other)
    assert not other.has(DIGEST)
    for suffix in (".cwasm", ".mac"):
        path = file_of(tmp_path, suffix)
        path.rename(path.with_name(f"{DIGEST}-{(b'f' * 16).hex()}{suffix}"))
    assert "MAC is wrong" in refused(other)


@pytest.mark.parametrize("missing", [[".cwasm"], [".mac"], [".cwasm", ".mac"]])
def test_missing_file_is_told_and_leaves_no_descriptor(
    cache: AotCache, tmp_path: Path, missing: list[str]
) -> None:
    for suffix in missing:
        file_of(tmp_path, suffix).unlink()
    assert "never compiled" in refused(cache)
    assert not cache.has(DIGEST)


def test_file_that_can_not_be_read_is_told(cache: AotCache, tmp_path: Path) -> None:
    path = file_of(tmp_path, ".mac")
    path.unlink()
    path.mkdir()
    assert "can't be read" in refused(cache)


def test_file_replaced_after_it_was_verified_is_not_what_is_mapped(cache: AotCache, tmp_path: Path) -> None:
    path = file_of(tmp_path, ".cwasm")
    with cache.open(DIGEST) as image:
        forged = tmp_path / "forged"
        forged.write_bytes(b"evil" * 4096)
        forged.rename(path)
        assert Path(image.path).read_bytes() == IMAGE
    assert "MAC is wrong" in refused(cache)


def test_storing_again_replaces_both_files_and_leaves_no_other(cache: AotCache, tmp_path: Path) -> None:
    cache.store(DIGEST, ModuleFacts(initialize=False), IMAGE[::-1])
    with cache.open(DIGEST) as image:
        assert Path(image.path).read_bytes() == IMAGE[::-1]
        assert not image.facts.initialize
    assert len(list((tmp_path / "aot").iterdir())) == 2
