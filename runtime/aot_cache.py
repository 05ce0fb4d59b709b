"""AOT images on disk: content-addressed, authenticated, mapped; and the deltas of JavaScript workers beside them.

An image is native code, so a forged one is arbitrary code execution. Each file ends in a seal: what we noted about
the module, the module's digest, the engine's fingerprint (wasmtime version, settings, CPU features), and a MAC of all
that comes before it, the image included, under a key of the installation. It is checked on an open descriptor, and
mapped from that same descriptor; the library reads no further than the image's own sections.

A delta (runtime.javascript.delta) is of a bundle and of one build of the JavaScript engine: both are in its name and
in its seal (runtime.javascript.sealed).
"""

from __future__ import annotations

import hmac
import os
import re
import struct
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from runtime.capi.engine_store import fingerprint
from runtime.javascript.sealed import NotOurs, ScriptFacts, SealedDelta, Sealer, Whose

#: Its module's digest, and its engine's fingerprint; of a delta, also its JavaScript engine's digest, shortened.
_NAME: Final = re.compile(r"([0-9a-f]{64})-([0-9a-f]+)(?:\.cwasm|-([0-9a-f]+)\.delta)")
#: The module's digest, the engine's fingerprint, whether the module exports `_initialize`.
_NOTED: Final = struct.Struct("32s16s?")
_MAC_BYTES: Final = 32
_SEAL_BYTES: Final = _NOTED.size + _MAC_BYTES
#: Reading and checking takes 1 ms a MiB, and a thread hop a tenth of one: what is smaller is checked on the loop.
SMALL_BYTES: Final = 256 * 1024
_CHUNK_BYTES: Final = 1 << 20


class ImageUnavailable(Exception):
    """There is no image for this module that this process may load; compile it (again). Says why."""


@dataclass(frozen=True, slots=True)
class ModuleFacts:
    """What the runtime must know of a module without reading it again."""

    #: It exports `_initialize`, to be run in each fresh instance.
    initialize: bool


_FACTS: Final = {initialize: ModuleFacts(initialize) for initialize in (False, True)}


class OpenImage:
    """`path` names the verified descriptor, and is good until `close`. `size` is the file's, in bytes."""

    __slots__ = ("_descriptor", "facts", "path", "size")

    def __init__(self, descriptor: int, size: int, facts: ModuleFacts) -> None:
        self._descriptor = descriptor
        self.path = f"/proc/self/fd/{descriptor}"
        self.size = size
        self.facts = facts

    def close(self) -> None:
        """Once."""
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AotCache:
    """`key` is derived from the root key (purpose "aot"); `folder` holds nothing but images and deltas. `javascript` is
    the digest of this host's JavaScript engine, "" where there is none: then deltas are nobody's.
    """

    def __init__(self, folder: Path, key: bytes, javascript: str = "") -> None:
        self._folder = folder
        #: Copied for each image: keying anew costs as much as 8 KiB of it.
        self._mac = hmac.new(key, digestmod="sha256")
        self._sealer = Sealer(key)
        self._fingerprint = fingerprint()
        self._suffix = f"-{self._fingerprint.hex()}.cwasm"
        self._delta_suffix = f"-{self._fingerprint.hex()}-{javascript[:32] or 'none'}.delta"
        self.javascript = javascript
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _path(self, digest: str) -> str:
        return f"{self._folder}/{digest}{self._suffix}"

    def _delta_path(self, digest: str) -> str:
        return f"{self._folder}/{digest}{self._delta_suffix}"

    def _stored(self, digest: str) -> str:
        """Where the one that is there is: a digest has an image, or a delta."""
        path = self._path(digest)
        return path if os.path.exists(path) else self._delta_path(digest)

    def has(self, digest: str) -> bool:
        return os.path.exists(self._stored(digest))

    def has_delta(self, digest: str) -> bool:
        return os.path.exists(self._delta_path(digest))

    def touch(self, digest: str) -> None:
        """Make an image or a delta that is there as young as a new one."""
        with suppress(FileNotFoundError):
            os.utime(self._stored(digest))

    def digests(self) -> Iterator[str]:
        """Modules that have images, and bundles that have deltas, of this engine; but not the JavaScript engine, which
        no script refers to.
        """
        for name in os.listdir(self._folder):
            match = _NAME.fullmatch(name)
            if match and name.endswith((self._suffix, self._delta_suffix)) and match[1] != self.javascript:
                yield match[1]

    def remove_stale(self, digest: str, older_than_s: float) -> int:
        """Delete what nobody has stored or touched for so long; the bytes that were freed, 0 when it stays. Who
        has it mapped keeps it.
        """
        path = Path(self._stored(digest))
        try:
            found = path.stat()
        except FileNotFoundError:
            return 0
        if time.time() - found.st_mtime <= older_than_s:
            return 0
        path.unlink(missing_ok=True)
        return found.st_size

    def check(self, digest: str) -> None:
        """Verify the image or the delta. Raises ImageUnavailable."""
        if os.path.exists(self._path(digest)):
            self.open(digest).close()
        else:
            self.read_delta(digest)

    def remove_foreign(self, older_than_s: float) -> int:
        """Delete images and deltas of other engines, and what dead writers left, when they are so old; how many
        files.
        """
        count = 0
        for name in os.listdir(self._folder):
            match = _NAME.fullmatch(name)
            own = name.endswith((self._suffix, self._delta_suffix))
            if own or not (match or name.startswith(".tmp-")):
                continue
            path = self._folder / name
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > older_than_s:
                    path.unlink()
                    count += 1
        return count

    def size(self, digest: str) -> int:
        """Of the file, in bytes; 0 when there is none."""
        try:
            return os.stat(self._stored(digest)).st_size
        except OSError:
            return 0

    def store(self, digest: str, facts: ModuleFacts, image: bytes) -> None:
        """Write it by rename, so that no reader sees half of one."""
        noted = _NOTED.pack(bytes.fromhex(digest), self._fingerprint, facts.initialize)
        mac = self._mac.copy()
        mac.update(image)
        mac.update(noted)
        _write(Path(self._path(digest)), image + noted + mac.digest())

    def store_delta(self, digest: str, facts: ScriptFacts, delta: bytes) -> None:
        """As `store`, of a bundle. One that a power loss damages is known by its seal and made again, which takes as
        long as waiting for the disk: so nobody does.
        """
        data = self._sealer.seal(self._whose(digest), facts, delta)
        _write(Path(self._delta_path(digest)), data, sync=False)

    def read_delta(self, digest: str) -> SealedDelta:
        """The delta of a bundle, verified. Raises ImageUnavailable as `open` does."""
        return self._unseal(digest, self._delta_file(digest))

    def read_small_delta(self, digest: str) -> SealedDelta | None:
        """As `read_delta`, where that takes no longer than a request may hold the loop; None when it does."""
        data = self._delta_file(digest, SMALL_BYTES)
        return self._unseal(digest, data) if len(data) <= SMALL_BYTES else None

    def _delta_file(self, digest: str, most_bytes: int = -1) -> bytes:
        """All of it; with `most_bytes`, at most one byte more."""
        try:
            with open(self._delta_path(digest), "rb") as file:
                return file.read(most_bytes + 1 if most_bytes >= 0 else -1)
        except FileNotFoundError as error:
            raise ImageUnavailable("it was never loaded into this host's JavaScript engine") from error
        except OSError as error:
            raise _unreadable(error) from error

    def _unseal(self, digest: str, data: bytes) -> SealedDelta:
        try:
            return self._sealer.unseal(self._whose(digest), data)
        except NotOurs as why:
            raise ImageUnavailable(str(why)) from why

    def _whose(self, digest: str) -> Whose:
        return Whose(bytes.fromhex(digest), self._fingerprint, bytes.fromhex(self.javascript))

    def open(self, digest: str) -> OpenImage:
        """Verify the image and lend it; the caller closes it.

        Raises ImageUnavailable when it is absent, forged or for another engine.
        """
        descriptor, size = self._open(digest)
        return self._verified(digest, descriptor, size)

    def read_image(self, digest: str) -> bytes:
        """The image alone, verified, to be handed on. Raises ImageUnavailable as `open` does."""
        with self.open(digest) as image:
            return Path(image.path).read_bytes()[:-_SEAL_BYTES]

    def open_small(self, digest: str) -> OpenImage | None:
        """As `open`, where that takes no longer than a request may hold the loop; None when it does."""
        descriptor, size = self._open(digest)
        if size > SMALL_BYTES:
            os.close(descriptor)
            return None
        return self._verified(digest, descriptor, size)

    def _open(self, digest: str) -> tuple[int, int]:
        try:
            descriptor = os.open(self._path(digest), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise ImageUnavailable(
                "it was never compiled for this wasmtime, these settings and this CPU"
            ) from error
        except OSError as error:
            raise _unreadable(error) from error
        return descriptor, os.fstat(descriptor).st_size

    def _verified(self, digest: str, descriptor: int, size: int) -> OpenImage:
        """Owns `descriptor`, also when it raises."""
        try:
            seal, mac = self._read(descriptor, size)
            if not hmac.compare_digest(mac, seal[_NOTED.size :]):
                raise ImageUnavailable("its MAC is wrong: the file was damaged, or written by someone else")
            module, engine, initialize = _NOTED.unpack_from(seal)
            if module != bytes.fromhex(digest) or engine != self._fingerprint:
                raise ImageUnavailable("it is the image of another module or engine under this one's name")
        except OSError as error:
            os.close(descriptor)
            raise _unreadable(error) from error
        except BaseException:
            os.close(descriptor)
            raise
        return OpenImage(descriptor, size, _FACTS[initialize])

    def _read(self, descriptor: int, size: int) -> tuple[bytes, bytes]:
        """(the seal that is there, the MAC that is right)."""
        if size < _SEAL_BYTES:
            raise ImageUnavailable("it is cut off")
        mac = self._mac.copy()
        if size <= SMALL_BYTES:
            whole = os.pread(descriptor, size, 0)
            mac.update(memoryview(whole)[: size - _MAC_BYTES])
            return whole[size - _SEAL_BYTES :], mac.digest()
        end = size - _MAC_BYTES
        for at in range(0, end, _CHUNK_BYTES):
            mac.update(os.pread(descriptor, min(_CHUNK_BYTES, end - at), at))
        return os.pread(descriptor, _SEAL_BYTES, size - _SEAL_BYTES), mac.digest()


def _unreadable(error: OSError) -> ImageUnavailable:
    return ImageUnavailable(f"it can't be read: {error.strerror}")


def _write(path: Path, data: bytes, *, sync: bool = True) -> None:
    # Two tenants may upload the same bytes at once: each writer has a file of its own, 0600.
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".tmp-")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
