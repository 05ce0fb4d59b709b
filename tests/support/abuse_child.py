"""A process that runs hostile modules one after another, each beside a neighbour: its exit status is a verdict.

A job on stdin is one MessagePack map {wasm, limits, bare}; the answer on stdout is one map: `refused` (the code
of an upload's refusal), `invalid` (the compiler's words), or `outcome` and `message` of the event; and how many
of the neighbour's requests, begun while the event ran, were answered (`answered` of `asked`). With `bare` an
event fits whatever ended it: only its name counts.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import msgpack

from bindings.operations import OPERATIONS
from model.outcome import EventOutcome
from runtime.artifact import read_artifact
from runtime.capi.failures import CapiError
from runtime.capi.guest import live_guests
from runtime.module_problems import InvalidModule
from runtime.worker import Worker
from tests.support.guests import Guests, Remembered, context, request, sample

#: A row that takes longer hangs.
ROW_S = 30


class Host:
    def __init__(self) -> None:
        self.guests = Guests(OPERATIONS)
        self.neighbour = self.guests.worker(sample("hello"), name="neighbour")

    async def run(self, wasm: bytes, limits: dict[str, int]) -> dict[str, Any]:
        try:
            read_artifact(wasm)
        except InvalidModule as refused:
            return {"refused": refused.code.value, "message": refused.message}
        try:
            hostile = self.guests.worker(wasm, limits=limits, name="hostile")
        except CapiError as error:
            return {"invalid": str(error)}
        return await self._beside_a_neighbour(hostile)

    async def _beside_a_neighbour(self, hostile: Worker) -> dict[str, Any]:
        event = asyncio.create_task(hostile.fetch(request(), Remembered(), context(tenant="hostile"), {}))
        asked = answered = 0
        while True:
            responder = Remembered()
            ending = await self.neighbour.fetch(request(), responder, context(tenant="neighbour"), {})
            asked += 1
            answered += ending.outcome is EventOutcome.OK and responder.status == 200 and responder.ended
            if event.done():
                break
            await asyncio.sleep(0.001)
        ending = event.result()
        assert live_guests() == 0, "a store was left"
        assert len(self.guests.host.running) == 0
        return {
            "outcome": ending.outcome.value,
            "message": ending.message,
            "asked": asked,
            "answered": answered,
        }


async def main() -> None:
    host = Host()
    unpacker = msgpack.Unpacker(max_bin_len=1 << 30, max_buffer_size=1 << 30)
    while data := await asyncio.to_thread(os.read, 0, 1 << 20):
        unpacker.feed(data)
        for job in unpacker:
            answer = await asyncio.wait_for(host.run(job["wasm"], job["limits"]), ROW_S)
            sys.stdout.buffer.write(msgpack.packb(answer))
            sys.stdout.buffer.flush()
            host.guests.observer.records.clear()
            host.guests.observer.lines.clear()
    host.guests.close()


if __name__ == "__main__":
    asyncio.run(main())
