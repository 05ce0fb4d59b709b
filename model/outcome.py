"""How an event ended, in Workers' words, and what a visitor is shown for it.

Source of the words: `EventOutcome` of the Workers runtime, which tail logs and metrics use.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class EventOutcome(StrEnum):
    OK = "ok"
    EXCEPTION = "exception"
    EXCEEDED_CPU = "exceededCpu"
    EXCEEDED_MEMORY = "exceededMemory"
    EXCEEDED_WALL_TIME = "exceededWallTime"
    SCRIPT_NOT_FOUND = "scriptNotFound"
    CANCELED = "canceled"
    LOAD_SHED = "loadShed"
    RESPONSE_STREAM_DISCONNECTED = "responseStreamDisconnected"
    INTERNAL_ERROR = "internalError"


@dataclass(frozen=True, slots=True)
class Page:
    """What a visitor sees when there is no answer of the worker's: `status` is HTTP, `code` is ours."""

    status: int
    code: int
    title: str


#: Every outcome has a row, so that a new one without a page does not start. 499 is only ever logged:
#: the visitor has gone.
PAGES: Final[dict[EventOutcome, Page]] = {
    EventOutcome.OK: Page(200, 0, "OK"),
    EventOutcome.EXCEPTION: Page(500, 1101, "Worker threw an exception"),
    EventOutcome.EXCEEDED_CPU: Page(503, 1102, "Worker exceeded its CPU time limit"),
    EventOutcome.EXCEEDED_MEMORY: Page(503, 1102, "Worker exceeded its memory limit"),
    EventOutcome.EXCEEDED_WALL_TIME: Page(504, 1103, "Worker did not answer in time"),
    EventOutcome.SCRIPT_NOT_FOUND: Page(404, 1104, "There is no worker here"),
    EventOutcome.CANCELED: Page(499, 1105, "The visitor left"),
    EventOutcome.LOAD_SHED: Page(503, 1106, "The platform is busy; try again shortly"),
    EventOutcome.RESPONSE_STREAM_DISCONNECTED: Page(499, 1107, "The visitor left during the response"),
    EventOutcome.INTERNAL_ERROR: Page(500, 1100, "The platform failed to run this worker"),
}
