"""More guests that fill their memory than the process may have: they pay by name, and a neighbour does not notice.

In a child, whose exit status is the verdict.
"""

from __future__ import annotations

import json

from tests.support.children import expect_ok

CHILD = """
import asyncio, json, time
from collections import Counter
from dispatch.admission import Admission, AdmissionLimits
from model.errors import LoadShed
from model.identity import DEFAULT_ACCOUNT, RayId, ScriptName, TenantId, VersionId
from model.capabilities import EventContext
from runtime.capi.guest import live_guests
from runtime.memory_budget import for_events, resident_bytes
from runtime.running import RunningEvents
from tests.support.guests import Guests, Remembered, request, sample
MIB = 1 << 20
SHARE = 1200 * MIB
KNOWN = %r
TENANTS, EVENTS = 10, 100

async def main():
    guests = Guests()
    admission = Admission(AdmissionLimits(memory_bytes=for_events(SHARE, resident_bytes())))
    guests.host.running.stop()

    def shed(tenants):
        admission.shedding = tenants

    running = guests.host.running = RunningEvents(SHARE, shed)
    running.start()
    hog = guests.worker(sample("hostile"), name="hog", limits={"cpu_ms": 10_000})
    hello = guests.worker(sample("hello"), name="hello", limits={"cpu_ms": 1_000})

    async def visit(worker, tenant, path):
        try:
            known = worker.expected_bytes
            permit = admission.try_admit(tenant, known) or await admission.wait_admit(tenant, known)
        except LoadShed:
            return "loadShed"
        context = EventContext(
            DEFAULT_ACCOUNT, None, ScriptName("s"), VersionId("v1"), TenantId(tenant), (), RayId("r"), 0, permit
        )
        try:
            ending = await worker.fetch(request(path=path), Remembered(), context, {})
        finally:
            permit.release()
        return str(ending.outcome)

    async def one(tenant):
        outcome = await visit(hog, tenant, "/memory?mib=126&ms=1000")
        return outcome

    assert await visit(hello, "neighbour", "/") == "ok"
    if KNOWN:
        assert await visit(hog, "hog0", "/memory?mib=126") == "ok"
    events = [asyncio.create_task(one(f"hog{n % TENANTS}")) for n in range(TENANTS * EVENTS)]
    peak, answers, slowest = 0, Counter(), 0.0
    crowd = asyncio.gather(*events)
    while not crowd.done():
        began = time.monotonic()
        answers[await visit(hello, "neighbour", "/")] += 1
        slowest = max(slowest, time.monotonic() - began)
        peak = max(peak, resident_bytes())
        await asyncio.sleep(0.02)
    outcomes = Counter(await crowd)
    # Dropped again by the pool lane, and everybody is admitted.
    end = time.monotonic() + 20
    while admission.shedding and time.monotonic() < end:
        await asyncio.sleep(0.05)
    again = await visit(hog, "hog0", "/memory?mib=126")
    assert live_guests() == 0 and (admission.running, admission.suspended, admission.slots) == (0, 0, 0)
    guests.close()
    print()
    print(json.dumps([outcomes, answers, again, peak // MIB, round(slowest, 2)]))

asyncio.run(main())
"""


def crowd(known: bool) -> tuple[dict[str, int], dict[str, int], str, int, float]:
    """Ten tenants' hundred each, 126 GiB together, against a share of 1.2; `known`: the script was seen before."""
    printed = expect_ok(CHILD.replace("%r", repr(known)))
    outcomes, answers, again, peak_mib, slowest_s = json.loads(
        next(line for line in printed.splitlines() if line.startswith("[{"))
    )
    assert sum(outcomes.values()) == 1_000
    assert set(outcomes) <= {"ok", "exceededMemory", "loadShed"}, outcomes
    assert outcomes["loadShed"] > 500
    assert outcomes.get("ok", 0) + outcomes.get("exceededMemory", 0) > 6
    assert set(answers) == {"ok"}
    assert answers["ok"] > 10
    assert again == "ok"
    assert slowest_s < 5
    return outcomes, answers, again, peak_mib, slowest_s


def test_1000_events_that_touch_128_mib_leave_the_process_up_and_the_neighbour_answered() -> None:
    """Of a script that nobody has seen run: as many as the slots allow begin at once."""
    peak_mib = crowd(known=False)[3]
    # Over its share by what grows between two looks and what is being deleted: measured, 60 to 80 MiB.
    assert peak_mib < 1_200 + 400


def test_events_of_a_script_that_is_known_for_128_mib_are_admitted_as_far_as_the_share_goes() -> None:
    outcomes, *_, peak_mib, _ = crowd(known=True)
    assert outcomes.get("exceededMemory", 0) == 0
    assert peak_mib < 1_200
