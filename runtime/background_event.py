"""An event that no visitor waits for, on its way through a sandbox."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from model.capabilities import EventContext
from runtime.abi.core_module import codec, values
from runtime.event import Event
from runtime.sandbox import Sandbox
from runtime.tracing import background_event

if TYPE_CHECKING:
    from runtime.worker import Worker

_RESULT_BYTES: Final = 1 << 20


class BackgroundEvent(Event):
    """A batch of messages, a cron tick, or traces of other events."""

    __slots__ = ("_value", "answer")

    def __init__(
        self, worker: Worker, context: EventContext, handler: str, value: Mapping[str, object]
    ) -> None:
        limits = worker.background_limits
        if handler == "tail":
            # Of it many wait for one another.
            limits = replace(limits, wall_ms=min(limits.wall_ms, worker.fetch_limits.wall_ms))
        super().__init__(worker, handler, context, limits)
        self._value = value
        #: What the handler returned, an `{error: …}` too.
        self.answer: object = None

    @property
    def cpu_us(self) -> int:
        return 0 if self.sandbox is None else self.sandbox.cpu_us

    def encode(self, sandbox: Sandbox) -> bytes:
        bindings = self.worker.told_bindings
        return values.encode(self._value if bindings is None else {**self._value, "env": bindings})

    def asked(self, status: int) -> Mapping[str, object] | None:
        return background_event(self.trigger, self._value)

    def finish(self, sandbox: Sandbox, result: int) -> None:
        if result:
            try:
                self.answer = codec.decode_answer(sandbox.read_result(result, _RESULT_BYTES))
            except codec.GuestException as error:
                self.answer = error.answer
                raise
