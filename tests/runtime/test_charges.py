"""CPU time that an operation took elsewhere is in the event's record, and is not held against its limit."""

from __future__ import annotations

from collections.abc import Sequence

from model.capabilities import Binding, GuestEvent, Operation, WorkerEnv
from model.outcome import EventOutcome
from tests.support.guests import Guests, request, sample


async def test_what_an_operation_charges_is_in_the_record_and_ends_nothing() -> None:
    async def get(event: GuestEvent, lent: object, args: Sequence[object]) -> object:
        event.charge(400_000_000)
        return {"value": b"kept", "metadata": None, "expiration": None}

    guests = Guests({"kv.get": Operation("kv.get", "kv_namespace", True, get)})
    try:
        env = WorkerEnv(bindings={"STORE": Binding("kv_namespace", None)})
        worker = guests.worker(sample("kv_read"), env=env, limits={"cpu_ms": 50})
        ending, response = await guests.fetch(worker, request(path="/key"))
        assert (ending.outcome, bytes(response.body)) == (EventOutcome.OK, b"kept")
        [record] = guests.observer.records
        assert 400_000 <= record.cpu_us < 450_000
    finally:
        guests.close()
