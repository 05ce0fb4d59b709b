"""An `asyncio.Event` that costs 50 bytes until somebody waits for it, rather than 800.

uvicorn makes one for each connection and one for each request, and hardly any is ever waited for; thousands of
visitors whose workers wait hold two each.
"""

from __future__ import annotations

import asyncio
from typing import Literal


class Signal:
    """As asyncio.Event, whose documentation holds."""

    __slots__ = ("_is_set", "_waiters")

    def __init__(self, is_set: bool = False) -> None:
        self._is_set = is_set
        self._waiters: list[asyncio.Future[None]] | None = None

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        if self._waiters is not None:
            waiters, self._waiters = self._waiters, None
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    def clear(self) -> None:
        self._is_set = False

    async def wait(self) -> Literal[True]:
        if self._is_set:
            return True
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._waiters is None:
            self._waiters = []
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            # Cancelled: `set` has not taken it off.
            if self._waiters is not None and waiter in self._waiters:
                self._waiters.remove(waiter)
        return True
