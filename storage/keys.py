"""One root key in a file of its own → every other key, by purpose; and sealing what only we may read.

A sealed value is `version (1) ‖ key id (8) ‖ nonce (12) ‖ ciphertext and tag`. The key id says which key it
wants, so that keys can be rotated. Sources: HKDF RFC 5869 with SHA-256; AES-256-GCM, NIST SP 800-38D: with
random 96-bit nonces one key may seal 2³² values, and each secret's version has a key of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from storage.failures import StorageError, from_os_error
from storage.folders import sync_folder

KEY_BYTES = 32
_VERSION = b"\x01"
_ID_BYTES = 8
_NONCE_BYTES = 12
_TAG_BYTES = 16
_HEADER_BYTES = len(_VERSION) + _ID_BYTES + _NONCE_BYTES


class Unsealable(StorageError):
    """Wrong key, wrong owner or name (AAD), or damaged bytes."""


class RootKeyInvalid(StorageError):
    """The root key's file holds something else than 32 bytes, or others may read it."""


class RootKeyMissing(StorageError):
    """There is no file where the root key should be."""


class RootKey:
    """Lives in the control process alone; the others are given what is derived for them."""

    __slots__ = ("_key", "key_id")

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise RootKeyInvalid(f"a root key has {KEY_BYTES} bytes; this one has {len(key)}")
        self._key = key
        #: 16 hex digits: safe to show, names the key in backups and error messages.
        self.key_id = _key_id(key).hex()

    def __repr__(self) -> str:
        return f"RootKey({self.key_id})"

    @staticmethod
    def load_or_create(path: Path) -> RootKey:
        """The key in `path`; 32 new random bytes (mode 0600, whole or not at all) when it isn't there.

        Raises RootKeyInvalid for another length or a mode that lets others read it, StorageError subclasses
        for what the disk refused.
        """
        try:
            if not path.exists():
                _create(path)
            else:
                # Who made it may have died before its name was durable, and secrets will be sealed with it.
                with contextlib.suppress(PermissionError):
                    sync_folder(path.parent)
        except OSError as error:
            raise from_os_error(error, path) from error
        return RootKey.load(path)

    @staticmethod
    def load(path: Path) -> RootKey:
        """The key in `path`. Raises as load_or_create, and RootKeyMissing."""
        try:
            mode = path.stat().st_mode
            key = path.read_bytes()
        except FileNotFoundError:
            raise RootKeyMissing("the root key's file is not there; put it back", detail=str(path)) from None
        except OSError as error:
            raise from_os_error(error, path) from error
        if mode & 0o077:
            raise RootKeyInvalid(
                f"the root key's file has mode {mode & 0o777:04o}; 0600 is right", detail=str(path)
            )
        return RootKey(key)

    def derive(self, purpose: str, info: bytes = b"") -> bytes:
        """32 bytes for this purpose and `info`; others for any other pair. Deterministic."""
        # The length keeps ("a", b"bc") and ("ab", b"c") apart.
        label = purpose.encode()
        return HKDF(SHA256(), KEY_BYTES, None, len(label).to_bytes(2, "big") + label + info).derive(self._key)


def seal(key: bytes, plaintext: bytes, aad: bytes) -> bytes:
    """Encrypt for whoever has `key` (32 bytes) and names the same `aad`."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    header = _VERSION + _key_id(key) + nonce
    return header + AESGCM(key).encrypt(nonce, plaintext, _bound(header, aad))


def unseal(key: bytes, sealed: bytes, aad: bytes) -> bytes:
    """What was sealed. Raises Unsealable."""
    if len(sealed) < _HEADER_BYTES + _TAG_BYTES or sealed[:1] != _VERSION:
        raise Unsealable("a sealed value is damaged or of an unknown version")
    if sealed[1 : 1 + _ID_BYTES] != _key_id(key):
        raise Unsealable(
            "a sealed value was made with another key", detail=f"sealed by key {sealed_by(sealed)}"
        )
    header = sealed[:_HEADER_BYTES]
    try:
        return AESGCM(key).decrypt(header[-_NONCE_BYTES:], sealed[_HEADER_BYTES:], _bound(header, aad))
    except InvalidTag:
        raise Unsealable("a sealed value is damaged, or belongs to another owner or name") from None


def sealed_by(sealed: bytes) -> str:
    """The id of the key that a sealed value wants, 16 hex digits: for rotation."""
    return sealed[1 : 1 + _ID_BYTES].hex()


def key_id(key: bytes) -> str:
    """What `sealed_by` says of what this key sealed."""
    return _key_id(key).hex()


def _bound(header: bytes, aad: bytes) -> bytes:
    return header + aad


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(b"tenantry key id\0" + key).digest()[:_ID_BYTES]


def _create(path: Path) -> None:
    """Write beside it, then link: a crash leaves no half key, and of two that start at once one wins."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(descriptor)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return
        sync_folder(path.parent)
    finally:
        temporary.unlink()
