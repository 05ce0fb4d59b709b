"""Jobs a second that procrastinate fetches and finishes, by four workers' loops of its own job manager, without the
job itself and without polling's pauses: the least that its queue does. Run with its packages on PYTHONPATH.
"""

from __future__ import annotations

import asyncio
import sys
import time

# mypy does not see it: it is in no lock file.
import procrastinate  # type: ignore[import-not-found]
from procrastinate import jobs

_WORKERS = 4
_JOBS = 3000


async def measure(dsn: str, for_s: float) -> float:
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=dsn, min_size=4, max_size=8))

    @app.task(queue="q", name="job")  # type: ignore[untyped-decorator]
    async def job(data: str) -> None:
        """Never run: only its place in the queue is measured."""

    async with app.open_async():
        if not await app.check_connection_async():
            await app.schema_manager.apply_schema_async()
        await job.batch_defer_async(*({"data": "v" * 100} for _ in range(_JOBS)))
        manager = app.job_manager
        done = 0
        until = time.monotonic() + for_s

        async def worker() -> None:
            nonlocal done
            worker_id = await manager.register_worker()
            while time.monotonic() < until:
                found = await manager.fetch_job(queues=["q"], worker_id=worker_id)
                if found is None:
                    raise RuntimeError("the queue ran dry")
                await manager.finish_job(found, status=jobs.Status.SUCCEEDED, delete_job=True)
                done += 1

        began = time.monotonic()
        await asyncio.gather(*(worker() for _ in range(_WORKERS)))
        return done / (time.monotonic() - began)


if __name__ == "__main__":
    print(asyncio.run(measure(sys.argv[1], float(sys.argv[2]))))
