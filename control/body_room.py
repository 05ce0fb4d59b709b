"""How many bytes of requests' bodies control holds at once: parallel uploads must not exhaust its memory.

Counted as they come, so that a small request finds room beside large ones that were only announced.
"""

from __future__ import annotations

from typing import Final

from model.errors import LoadShed

#: Three of the largest uploads, and room for the small ones beside. Compiling takes as much again.
MOST_BYTES: Final = 256 << 20


class BodyRoom:
    """For one thread, the loop's."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self.held = 0

    def take(self, size: int) -> None:
        """Raises LoadShed when there is no room for `size` bytes more."""
        if self.held + size > self.most_bytes:
            raise LoadShed(
                f"{self.held} bytes of uploads are under way, of {self.most_bytes}; try again shortly",
                retry_after_s=5,
            )
        self.held += size

    def give(self, size: int) -> None:
        self.held -= size
