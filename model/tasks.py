"""For code that must run in an asyncio task: the door takes a request's first step outside of one."""

from __future__ import annotations

import asyncio
from typing import Any


async def in_task() -> asyncio.Task[Any]:
    """The task that runs this, from here on if it was none until now. `edge.first_step` says why."""
    task = asyncio.current_task()
    if task is None:
        await asyncio.sleep(0)  # whoever waits is put into a task
        task = asyncio.current_task()
    if task is None:
        raise RuntimeError("nobody put this into a task when it waited")
    return task
