"""Cuts request loops: how many hosts of this platform a request has passed, signed so that nobody else
can lower or raise it. Pure.

The header is `tenantry-hop: DEPTH.RAY.MAC`. A guest can neither set nor read it; the door takes it from
what arrives, and a value that is not ours counts as a request from outside.
"""

from __future__ import annotations

import hmac
import re
from hashlib import blake2b
from typing import Final

HOP_HEADER: Final = b"tenantry-hop"
MAX_HOPS: Final = 8

_VALUE = re.compile(rb"([1-9][0-9]?)\.([A-Za-z0-9-]{1,64})\.([0-9a-f]{32})")


class HopSigner:
    """`key` is at least 16 bytes, the same in every process of the platform."""

    def __init__(self, key: bytes) -> None:
        if len(key) < 16:
            raise ValueError("the hop key has fewer than 16 bytes")
        self._key = key if len(key) <= 64 else blake2b(key).digest()

    def sign(self, depth: int, ray_id: str) -> bytes:
        """The header's value for a request that makes its `depth`-th hop (from 1)."""
        ray = ray_id if ray_id.isalnum() and ray_id.isascii() else re.sub(r"[^A-Za-z0-9-]", "", ray_id)
        ray = ray[:64] or "0"
        text = f"{depth}.{ray}".encode("ascii")
        return text + b"." + self._mac(text)

    def verify(self, value: bytes | None) -> int:
        """How many hops lie behind a request that came with `value`; 0 for none, or one not signed by us."""
        match = _VALUE.fullmatch(value) if value else None
        if match is None:
            return 0
        text, _, mac = match[0].rpartition(b".")
        return int(match[1]) if hmac.compare_digest(mac, self._mac(text)) else 0

    def _mac(self, text: bytes) -> bytes:
        # Keyed BLAKE2 (RFC 7693 §2.9): a fifth of the time of HMAC-SHA256, which every subrequest would pay.
        return (
            blake2b(text, key=self._key, digest_size=16, person=b"tenantry-hop").hexdigest().encode("ascii")
        )
