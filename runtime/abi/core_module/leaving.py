"""The operation `visitor.left` of one event: a worker that has it pending is told when its visitor leaves, and goes on;
any other is ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from model.errors import OperationError, OperationErrorCode
from runtime.abi.core_module.response_steps import Answering


class Leaving:
    """`left`: the visitor has gone before the response had ended, and who waited for that was told."""

    __slots__ = ("_waiting", "left")

    def __init__(self) -> None:
        self.left = False
        self._waiting: set[asyncio.Future[None]] = set()

    def wait(self, event: Answering, args: Sequence[object]) -> asyncio.Future[None]:
        """Done when the visitor leaves. It counts from now on, not from when somebody first awaits it."""
        if args:
            raise OperationError(OperationErrorCode.INVALID_ARGUMENT, "visitor.left: it has no arguments")
        if event.responder is None:
            raise OperationError(
                OperationErrorCode.INVALID_ARGUMENT, "visitor.left: this event has no visitor who could leave"
            )
        if event.response_ended:
            raise OperationError(
                OperationErrorCode.CLOSED_STREAM, "visitor.left: the visitor has all of the response"
            )
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.left:
            future.set_result(None)
        else:
            self._waiting.add(future)
            future.add_done_callback(self._waiting.discard)
        return future

    def tell(self) -> bool:
        """The visitor leaves. Whether anybody is told."""
        for future in self._waiting:
            if not future.done():  # else it was cancelled just now
                self.left = True
                future.set_result(None)
        return self.left
