"""Visitors who leave, who take their time, and who tell what they have."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tests.support.guests import Remembered


class Visitor:
    def __init__(self) -> None:
        self.left = False
        self.gone = asyncio.Event()
        self.on_leave: Callable[[], None] | None = None

    def leave(self) -> None:
        self.left = True
        self.gone.set()
        if self.on_leave is not None:
            self.on_leave()


class Slow(Remembered):
    """Takes nothing until `gate` opens; `waiting`: something is offered."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.waiting = asyncio.Event()

    async def write(self, data: bytes) -> None:
        self.waiting.set()
        await self.gate.wait()
        await super().write(data)


class Finished(Remembered):
    """Tells when it has all of the response."""

    def __init__(self) -> None:
        super().__init__()
        self.over = asyncio.Event()

    async def end(self) -> None:
        await super().end()
        self.over.set()
