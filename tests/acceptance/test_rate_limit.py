"""A rate limit holds over all processes of a host, and survives the death of one."""

from __future__ import annotations

import os
import signal
import time

from tests.acceptance.platform import Platform, wait_until


def came_back(began: float) -> int:
    """How many of 20 a minute there may be again."""
    return int((time.monotonic() - began) / 3) + 1


def test_a_limit_holds_whichever_process_answers(own_platform: Platform) -> None:
    host = own_platform
    assert len(host.workers()) > 1
    for name in ("limited", "limited-too"):
        host.deploy("rate_limited", name, "--tenant", "acme", "--rate-limit", "LIMIT=20/60")
    host.deploy("rate_limited", "other", "--rate-limit", "LIMIT=20/60")
    began = time.monotonic()
    # A new connection each, so that each process answers some; two scripts of a tenant count together.
    statuses = [
        host.request(f"{name}.localhost", "/k").status
        for _ in range(15)
        for name in ("limited", "limited-too")
    ]
    assert 20 <= statuses.count(200) <= 20 + came_back(began)
    assert statuses[:20] == [200] * 20
    assert statuses.count(429) == 30 - statuses.count(200)
    assert host.request("limited.localhost", "/another").status == 200
    assert host.request("other.localhost", "/k").status == 200

    before = host.workers()
    os.kill(before[0], signal.SIGKILL)
    wait_until(lambda: len(host.workers()) == len(before) and before[0] not in host.workers())
    again = [host.request("limited.localhost", "/k").status for _ in range(30)]
    # Those that came back in the meantime, and not twenty more.
    assert statuses.count(200) + again.count(200) <= 20 + came_back(began)
