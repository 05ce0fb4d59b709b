"""Whatever a worker does wrong ends its own event, with a name; the next one is answered."""

from __future__ import annotations

import pytest

from model.outcome import EventOutcome
from tests.support.guests import Guests, request

EXCEPTION, CPU, MEMORY = EventOutcome.EXCEPTION, EventOutcome.EXCEEDED_CPU, EventOutcome.EXCEEDED_MEMORY


@pytest.mark.parametrize(
    ("path", "outcome"),
    [
        ("/stdout", CPU),
        ("/sleeps", EventOutcome.OK),  # the operations run out; each failure is an answer
        ("/memory", MEMORY),
        ("/recurse", EXCEPTION),
        ("/exit", EXCEPTION),
        ("/error", EXCEPTION),
        ("/half", EXCEPTION),
        ("/bad-call?what=pointer", EXCEPTION),
        ("/bad-call?what=large", EXCEPTION),
        ("/bad-call?what=msgpack", EXCEPTION),
        ("/bad-call?what=nested", EXCEPTION),
        ("/bad-call?what=many", EXCEPTION),
        ("/bad-call?what=twice", EXCEPTION),
        ("/bad-call?what=take", EXCEPTION),
        ("/bad-call?what=log", EXCEPTION),
        ("/smuggle?name=transfer-encoding&value=chunked", EXCEPTION),
        ("/smuggle?name=x&value=a%0d%0ab", EXCEPTION),
    ],
)
async def test_ends_its_own_event_by_name(guests: Guests, path: str, outcome: EventOutcome) -> None:
    # Touching all of its memory takes more than the usual 50 ms of CPU time on a busy machine.
    worker = guests.worker(guests.sample("hostile"), limits={"cpu_ms": 500})
    ending, response = await guests.fetch(worker, request(path=path))
    assert ending.outcome is outcome, ending.message
    assert response.started is (path in ("/half", "/sleeps"))
    ending, response = await guests.fetch(guests.worker(guests.sample("hello"), name="hello"))
    assert (ending.outcome, response.status) == (EventOutcome.OK, 200)


@pytest.mark.parametrize(
    ("what", "body"), [("unknown", b"unknown_operation: "), ("binding", b"unknown_binding: ")]
)
async def test_what_does_not_exist_is_an_answer_not_an_end(guests: Guests, what: str, body: bytes) -> None:
    ending, response = await guests.fetch(
        guests.worker(guests.sample("hostile")), request(path=f"/bad-call?what={what}")
    )
    assert ending.outcome is EventOutcome.OK, ending.message
    assert response.body.startswith(body)


@pytest.mark.parametrize(
    "path",
    ["/spin?ms=1", "/memory?mib=3", "/log?lines=3", "/stdout?lines=3", "/calls?times=3", "/sleeps?times=3"],
)
async def test_in_small_amounts_it_is_a_worker_like_any(guests: Guests, path: str) -> None:
    ending, response = await guests.fetch(guests.worker(guests.sample("hostile")), request(path=path))
    assert ending.outcome is EventOutcome.OK, ending.message
    assert response.status == 200


async def test_log_and_stdout_become_lines(guests: Guests) -> None:
    await guests.fetch(guests.worker(guests.sample("hostile")), request(path="/log?lines=2"))
    await guests.fetch(guests.worker(guests.sample("hostile")), request(path="/stdout?lines=2"))
    assert guests.observer.texts == ["one more line"] * 4


@pytest.mark.parametrize(("trusted", "most"), [(False, 1), (True, 10_000)])
async def test_time_stands_still_for_who_is_not_trusted(guests: Guests, trusted: bool, most: int) -> None:
    worker = guests.worker(guests.sample("hostile"), trusted=trusted, limits={"cpu_ms": 5_000})
    _, response = await guests.fetch(worker, request(path="/clock?times=10000"))
    changes = int(bytes(response.body))
    assert 1 <= changes <= most
    assert (changes > 1) is trusted


async def test_every_import_works_from_the_deepest_recursion_a_guest_can_reach(guests: Guests) -> None:
    """A host function runs on the guest's stack, below its frames: with too little room there Python
    overflows it, and the process ends. So: find the deepest recursion that leaves the guest room for the call
    itself, and call everything from there, and from the depths just around.
    """
    worker = guests.worker(guests.sample("hostile"), limits={"cpu_ms": 5_000})

    async def survives(depth: int) -> bool:
        ending, response = await guests.fetch(worker, request(path=f"/recurse?depth={depth}"))
        if ending.outcome is EventOutcome.OK:
            assert response.body == b"48 imports called\n"
            return True
        assert ending.outcome is EXCEPTION
        assert "stack" in ending.message
        return False

    shallow, deep = 1, 1 << 20
    assert await survives(shallow)
    assert not await survives(deep)
    while deep - shallow > 1:
        middle = (shallow + deep) // 2
        if await survives(middle):
            shallow = middle
        else:
            deep = middle
    assert shallow > 1_000
    for depth in range(shallow - 5, shallow + 6):
        assert await survives(depth) is (depth <= shallow)
    ending, _ = await guests.fetch(worker, request(path=f"/recurse?depth={shallow - 10}&exit"))
    assert ending.outcome is EXCEPTION
    assert "proc_exit(7)" in ending.message
