"""Run requests as far as they go without waiting, and make a task only of what is left of one.

Most requests are answered in their first step. A task for each would be made for nothing; instead all that came
in one turn of the loop take their first steps in the next, from one callback. They don't take them where
they are parsed: parser and app by turns, rather than each of them many times over, lose more to cold caches
than the task costs (measured, 32 connections: 10 µs a request).

The rule for an app that is run so: in its first step there is no `asyncio.current_task()`. What needs one
(`asyncio.timeout`, a task group, a task to be cancelled) awaits `model.tasks.in_task` first.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from typing import Any

#: Does what can be done without waiting; answers what is left, if anything is, to be awaited at once.
Begin = Callable[[], Coroutine[Any, Any, None] | None]


class FirstSteps:
    """What is to take its first step in the loop's next turn. A task that is made of the rest is in `tasks` until
    it has ended.
    """

    def __init__(self, tasks: set[asyncio.Task[None]]) -> None:
        self._tasks = tasks
        self._due: deque[Begin] = deque()

    def __len__(self) -> int:
        return len(self._due)

    def add(self, begin: Begin, loop: asyncio.AbstractEventLoop) -> None:
        """As `create_task`, on the running loop."""
        if not self._due:
            loop.call_soon(self._take, loop)
        self._due.append(begin)

    def _take(self, loop: asyncio.AbstractEventLoop) -> None:
        # Those that come meanwhile are for the turn after this one.
        due, self._due = self._due, deque()
        try:
            while due:
                self._step(due.popleft(), loop)
        finally:
            for begin in due:
                self.add(begin, loop)

    def _step(self, begin: Begin, loop: asyncio.AbstractEventLoop) -> None:
        context = contextvars.copy_context()  # as a task has
        work = context.run(begin)
        if work is None:
            return
        try:
            waits_for = context.run(work.send, None)
        except StopIteration:
            return
        task = loop.create_task(_Rest(work, waits_for), context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Rest(Coroutine[Any, Any, None]):
    """What is left of a coroutine whose first step has been taken: begins by waiting for what that waits for."""

    __slots__ = ("_begun", "_waits_for", "_work")

    def __init__(self, work: Coroutine[Any, Any, None], waits_for: Any) -> None:
        self._work = work
        self._waits_for = waits_for
        self._begun = False

    def send(self, value: Any) -> Any:
        if self._begun:
            return self._work.send(value)
        self._begun = True
        waits_for, self._waits_for = self._waits_for, None
        return waits_for

    def throw(self, *error: Any) -> Any:
        if not self._begun:
            # Cancelled before it began to wait. A task cancels what it waits for, and hears of it from there.
            waits_for = self.send(None)
            if waits_for is not None and waits_for.cancel():
                return waits_for
        return self._work.throw(*error)

    def close(self) -> None:
        self._work.close()

    def __await__(self) -> Generator[Any, Any, None]:
        raise TypeError("this is for a task to step, not to be awaited")
