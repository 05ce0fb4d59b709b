"""A due run, from control to a worker process of its script's group and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from control.cron_runner import NotTaken, Ran
from model.errors import OperationErrorCode
from model.outcome import EventOutcome
from model.schedules import UNKNOWN
from model.scripts import ScriptRef
from processes.channel import Channel, ChannelError, RequestTimedOut

#: A run may last 15 minutes, and wait for room before it.
RUN_S: Final = 16 * 60.0
_REFUSED: Final = {
    str(OperationErrorCode.WORKER_NOT_FOUND): EventOutcome.SCRIPT_NOT_FOUND,
    str(OperationErrorCode.INVALID_ARGUMENT): EventOutcome.EXCEPTION,
}


class ScheduledRuns:
    """Implements control.cron_runner.RunScheduled; `channel_for`: to a process that may run a script."""

    def __init__(self, channel_for: Callable[[ScriptRef], Channel]) -> None:
        self._channel_for = channel_for

    async def __call__(self, ref: ScriptRef, event: Mapping[str, object]) -> Ran:
        wanted = {"namespace": ref.namespace, "script": ref.script, "kind": "scheduled", "event": dict(event)}
        try:
            answer = await self._channel_for(ref).request("trigger", wanted, RUN_S)
        except RequestTimedOut:
            return Ran(UNKNOWN, "the worker process that ran it did not say how it ended")
        except ChannelError as error:
            # A handler of the process that raises has run nothing: what a worker does wrong is an ending.
            raise NotTaken(f"no worker process took it: {error}") from error
        if not isinstance(answer, Mapping):
            raise NotTaken("a worker process gave no answer")
        if "refused" in answer:
            outcome = _REFUSED.get(str(answer.get("code")))
            if outcome is None:
                raise NotTaken(str(answer["refused"]))
            return Ran(outcome, str(answer["refused"]))
        cpu_us = answer.get("cpu_us")
        return Ran(str(answer["outcome"]), str(answer["error"]), cpu_us if isinstance(cpu_us, int) else None)
