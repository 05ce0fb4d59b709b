"""AOT images on disk: content-addressed, authenticated, mapped.

An image is native code, so a forged one is arbitrary code execution. Each has a side file with a MAC under a
key of the installation; the MAC covers the module's digest, the engine's fingerprint (wasmtime version,
settings, CPU features), what we noted about the module, and the image itself. It is checked on an open
descriptor, and mapped from that same descriptor.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgpack

from runtime.capi.engine_store import fingerprint

#: An image, or what is left of one: its module's digest and its engine's fingerprint.
_NAME = re.compile(r"([0-9a-f]{64})-([0-9a-f]+)\.(?:cwasm|mac)")


class ImageUnavailable(Exception):
    """There is no image for this module that this process may load; compile it (again). Says why."""


@dataclass(frozen=True, slots=True)
class ModuleFacts:
    """What the runtime must know of a module without reading it again."""

    #: It exports `_initialize`, to be run in each fresh instance.
    initialize: bool


@dataclass(frozen=True, slots=True)
class OpenImage:
    """`path` names the verified descriptor, and is good while the context is open. `size` is in bytes."""

    path: str
    size: int
    facts: ModuleFacts


class AotCache:
    """`key` is derived from the root key (purpose "aot"); `folder` holds nothing but images."""

    def __init__(self, folder: Path, key: bytes) -> None:
        self._folder = folder
        self._key = key
        self._fingerprint = fingerprint()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _image_path(self, digest: str) -> Path:
        return self._folder / f"{digest}-{self._fingerprint.hex()}.cwasm"

    def has(self, digest: str) -> bool:
        path = self._image_path(digest)
        return path.exists() and path.with_suffix(".mac").exists()

    def touch(self, digest: str) -> None:
        """Make an image that is there as young as a new one."""
        for path in self._pair(digest):
            with suppress(FileNotFoundError):
                os.utime(path)

    def digests(self) -> Iterator[str]:
        """Modules that have images of this engine."""
        for name in os.listdir(self._folder):
            match = _NAME.fullmatch(name)
            if match and name.endswith(".cwasm") and match[2] == self._fingerprint.hex():
                yield match[1]

    def remove_stale(self, digest: str, older_than_s: float) -> int:
        """Delete what nobody has stored or touched for so long; the bytes that were freed, 0 when it stays. Who
        has it mapped keeps it.
        """
        image, side = self._pair(digest)
        try:
            found = image.stat()
        except FileNotFoundError:
            return 0
        if time.time() - found.st_mtime <= older_than_s:
            return 0
        # Without its side file an image is none, so this order leaves nothing that looks whole.
        side.unlink(missing_ok=True)
        image.unlink(missing_ok=True)
        return found.st_size

    def remove_foreign(self, older_than_s: float) -> int:
        """Delete images of other engines, and what dead writers left, when they are so old; how many files."""
        count = 0
        for name in os.listdir(self._folder):
            match = _NAME.fullmatch(name)
            if not name.startswith(".tmp-") and (match is None or match[2] == self._fingerprint.hex()):
                continue
            path = self._folder / name
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > older_than_s:
                    path.unlink()
                    count += 1
        return count

    def _pair(self, digest: str) -> tuple[Path, Path]:
        image = self._image_path(digest)
        return image, image.with_suffix(".mac")

    def size(self, digest: str) -> int:
        """Of the image, in bytes; 0 when there is none."""
        try:
            return self._image_path(digest).stat().st_size
        except OSError:
            return 0

    def store(self, digest: str, facts: ModuleFacts, image: bytes) -> None:
        """Write image and side file, each by rename, so that no reader sees half of one."""
        path = self._image_path(digest)
        noted = msgpack.packb({"initialize": facts.initialize})
        mac = self._mac(digest, noted, hashlib.sha256(image).digest())
        _write(path, image)
        _write(path.with_suffix(".mac"), msgpack.packb([mac, noted]))

    @contextmanager
    def open(self, digest: str) -> Iterator[OpenImage]:
        """Verify the image and lend it. Raises ImageUnavailable when it is absent, forged or for another engine."""
        path = self._image_path(digest)
        try:
            side = path.with_suffix(".mac").read_bytes()
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise ImageUnavailable(
                "it was never compiled for this wasmtime, these settings and this CPU"
            ) from error
        except OSError as error:
            raise ImageUnavailable(f"it can't be read: {error.strerror}") from error
        try:
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                image_digest = hashlib.file_digest(file, "sha256").digest()
            mac, noted = _parse_side(side)
            if not hmac.compare_digest(mac, self._mac(digest, noted, image_digest)):
                raise ImageUnavailable("its MAC is wrong: the file was damaged, or written by someone else")
            facts = msgpack.unpackb(noted)
            size = os.fstat(descriptor).st_size
            yield OpenImage(f"/proc/self/fd/{descriptor}", size, ModuleFacts(bool(facts["initialize"])))
        finally:
            os.close(descriptor)

    def _mac(self, digest: str, noted: bytes, image_digest: bytes) -> bytes:
        parts = (digest.encode(), self._fingerprint, noted, image_digest)
        message = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.digest(self._key, message, "sha256")


def _parse_side(side: bytes) -> tuple[bytes, bytes]:
    try:
        mac, noted = msgpack.unpackb(side)
    except Exception as error:
        raise ImageUnavailable("its side file is damaged") from error
    if not isinstance(mac, bytes) or not isinstance(noted, bytes):
        raise ImageUnavailable("its side file is damaged")
    return mac, noted


def _write(path: Path, data: bytes) -> None:
    # Two tenants may upload the same bytes at once: each writer has a file of its own, 0600.
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".tmp-")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
