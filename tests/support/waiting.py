"""Waiting for what tells nobody that it has happened.

The limit is for what never happens: on a busy machine all else takes its time, and no test is about that.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final

PATIENCE_S: Final = 60.0


def wait_until(holds: Callable[[], bool], timeout_s: float = PATIENCE_S, *, pause_s: float = 0.05) -> None:
    """Poll until it holds; fail when it never does."""
    end = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(pause_s)


async def until(
    holds: Callable[[], bool | Awaitable[bool]], timeout_s: float = PATIENCE_S, *, pause_s: float = 0.005
) -> None:
    """`wait_until` on a loop."""
    end = time.monotonic() + timeout_s
    while True:
        found = holds()
        if await found if inspect.isawaitable(found) else found:
            return
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(pause_s)


def files_below(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """The files in a folder that others write, with what is in them. One that goes meanwhile is left out."""
    for where, _, names in os.walk(folder):
        for name in names:
            path = Path(where) / name
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                continue
            yield path, content
