"""A delta as a file: what loading told of the bundle, the delta, whose they are, and a MAC over all of it. Pure.

A delta becomes a worker's memory, so who could forge one would be that worker. The key is the installation's.
"""

from __future__ import annotations

import hmac
import struct
from dataclasses import dataclass
from typing import Final

import msgpack

#: Of this file and of the delta in it (runtime.javascript.delta): another release's is made again.
_FORMAT: Final = 1
#: What stands first: the format, and the size of the facts.
_HEAD: Final = struct.Struct("<BI")
#: The bundle's digest, the engine's fingerprint, the JavaScript engine's digest.
_NOTED: Final = struct.Struct("32s16s32s")
_MAC_BYTES: Final = 32


class NotOurs(Exception):
    """The file is not what was sealed here, or of something else. Says why."""


@dataclass(frozen=True, slots=True)
class ScriptFacts:
    """What loading a bundle told of it: `entrypoints` are the names of its exported classes."""

    handlers: frozenset[str]
    entrypoints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SealedDelta:
    """`size` is the file's, in bytes."""

    facts: ScriptFacts
    delta: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Whose:
    """Digests of the bundle and of the JavaScript engine, 32 bytes each, and the engine's fingerprint, 16."""

    bundle: bytes
    fingerprint: bytes
    javascript: bytes

    @property
    def noted(self) -> bytes:
        return _NOTED.pack(self.bundle, self.fingerprint, self.javascript)


class Sealer:
    """`key` is used for images too: deltas have one of their own from it, so that neither passes for the other."""

    def __init__(self, key: bytes) -> None:
        #: Copied for each file: keying anew costs as much as 8 KiB of it.
        self._mac = hmac.new(hmac.digest(key, b"sealed delta", "sha256"), digestmod="sha256")

    def seal(self, whose: Whose, facts: ScriptFacts, delta: bytes) -> bytes:
        told: bytes = msgpack.packb([sorted(facts.handlers), list(facts.entrypoints)])
        content = b"".join((_HEAD.pack(_FORMAT, len(told)), told, delta, whose.noted))
        return content + self._digest(content)

    def unseal(self, whose: Whose, data: bytes) -> SealedDelta:
        """Raises NotOurs."""
        end = len(data) - _MAC_BYTES - _NOTED.size
        if end < _HEAD.size:
            raise NotOurs("it is cut off")
        if not hmac.compare_digest(self._digest(memoryview(data)[:-_MAC_BYTES]), data[-_MAC_BYTES:]):
            raise NotOurs("its MAC is wrong: the file was damaged, or written by someone else")
        if data[end:-_MAC_BYTES] != whose.noted:
            raise NotOurs("it is the delta of another bundle or engine under this one's name")
        version, size = _HEAD.unpack_from(data)
        if version != _FORMAT:
            raise NotOurs(f"it is of format {version}, and this release reads {_FORMAT}")
        start = _HEAD.size + size
        handlers, entrypoints = msgpack.unpackb(data[_HEAD.size : start])
        return SealedDelta(ScriptFacts(frozenset(handlers), tuple(entrypoints)), data[start:end], len(data))

    def _digest(self, content: bytes | memoryview) -> bytes:
        mac = self._mac.copy()
        mac.update(content)
        return mac.digest()
