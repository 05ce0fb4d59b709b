"""A sealed value opens with its own key, under its own name, and in no other way."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from storage.failures import StorageLost
from storage.keys import RootKey, RootKeyInvalid, Unsealable, seal, sealed_by, unseal

KEY = bytes(range(32))
OTHER = bytes(range(1, 33))


def test_root_key_is_made_once_with_mode_0600(tmp_path: Path) -> None:
    path = tmp_path / "root-key"
    first = RootKey.load_or_create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(path.read_bytes()) == 32
    assert RootKey.load_or_create(path).key_id == first.key_id
    assert [entry.name for entry in tmp_path.iterdir()] == ["root-key"]


def test_two_that_start_at_once_get_the_same_key(tmp_path: Path) -> None:
    ids: list[str] = []
    threads = [
        threading.Thread(target=lambda: ids.append(RootKey.load_or_create(tmp_path / "root-key").key_id))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 8
    assert len(set(ids)) == 1


@pytest.mark.parametrize("size", [0, 31, 33])
def test_root_key_of_another_length_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "root-key"
    path.touch(0o600)
    path.write_bytes(bytes(size))
    with pytest.raises(RootKeyInvalid, match=f"this one has {size}"):
        RootKey.load_or_create(path)


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_root_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "root-key"
    RootKey.load_or_create(path)
    path.chmod(mode)
    with pytest.raises(RootKeyInvalid, match=f"{mode:04o}"):
        RootKey.load_or_create(path)


def test_root_key_in_a_missing_folder_is_storage_lost(tmp_path: Path) -> None:
    with pytest.raises(StorageLost):
        RootKey.load_or_create(tmp_path / "nowhere" / "root-key")


def test_derived_keys_differ_by_purpose_info_and_root() -> None:
    root = RootKey(KEY)
    keys = {
        root.derive("secret"),
        root.derive("secret", b"a"),
        root.derive("secreta"),  # the border between purpose and info counts
        root.derive("aot"),
        RootKey(OTHER).derive("secret"),
    }
    assert len(keys) == 5
    assert all(len(key) == 32 for key in keys)
    assert root.derive("secret", b"a") == RootKey(KEY).derive("secret", b"a")


def test_root_key_shows_its_id_and_not_itself() -> None:
    assert repr(RootKey(KEY)) == f"RootKey({RootKey(KEY).key_id})"
    assert KEY.hex() not in repr(RootKey(KEY))


@pytest.mark.parametrize("plaintext", [b"", b"x", b"secret" * 1000])
def test_sealed_value_opens_with_key_and_aad(plaintext: bytes) -> None:
    sealed = seal(KEY, plaintext, b"owner\0name\x001")
    assert unseal(KEY, sealed, b"owner\0name\x001") == plaintext
    assert len(sealed) == len(plaintext) + 1 + 8 + 12 + 16
    assert sealed != seal(KEY, plaintext, b"owner\0name\x001")  # the nonce is random


def test_key_id_in_front_is_the_keys() -> None:
    assert sealed_by(seal(KEY, b"", b"")) == RootKey(KEY).key_id


def test_wrong_key_is_told_by_its_id() -> None:
    with pytest.raises(Unsealable, match="another key"):
        unseal(OTHER, seal(KEY, b"secret", b"a"), b"a")


def test_wrong_name_does_not_open() -> None:
    with pytest.raises(Unsealable):
        unseal(KEY, seal(KEY, b"secret", b"tenant-a\0NAME"), b"tenant-b\0NAME")


def test_any_changed_byte_does_not_open() -> None:
    sealed = seal(KEY, b"secret", b"a")
    for position in range(len(sealed)):
        damaged = bytearray(sealed)
        damaged[position] ^= 1
        with pytest.raises(Unsealable):
            unseal(KEY, bytes(damaged), b"a")


def test_any_truncation_does_not_open() -> None:
    sealed = seal(KEY, b"secret", b"a")
    for length in range(len(sealed)):
        with pytest.raises(Unsealable):
            unseal(KEY, sealed[:length], b"a")
