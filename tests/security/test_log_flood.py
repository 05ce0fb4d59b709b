"""A flood of log lines while control does not read: a worker process drops and counts, and holds little."""

from __future__ import annotations

import asyncio

from cli.telemetry import WorkerTelemetry
from processes.channel import Channel, channel_pair
from tests.observability.records import log_line

LINE_BYTES = 16 * 1024


async def test_lines_that_wait_for_control_are_bounded_by_their_bytes() -> None:
    near, far = channel_pair()
    channel = Channel(near)
    channel.start()
    telemetry = WorkerTelemetry(channel, "worker-0", write=lambda data: None)
    line = log_line("x" * LINE_BYTES)
    for _ in range(5):
        kept = sum(telemetry._keep_line(line) for _ in range(2_000))
        assert kept * LINE_BYTES <= 8 << 20
        # Nobody reads the other end, so at some time the channel takes no more: lines are dropped, not kept.
        telemetry._send_waiting()
        await asyncio.sleep(0)
    assert not telemetry._keep_line(line) or len(telemetry._waiting) * LINE_BYTES <= 8 << 20
    while telemetry._waiting:
        telemetry._send_waiting()
    assert telemetry._waiting_bytes == 0
    channel.close()
    far.close()
