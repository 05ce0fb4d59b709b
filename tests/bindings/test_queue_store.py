"""What only the queues in SQLite have: how work is found there. tests/contracts/test_queue_storage.py has the rest."""

from __future__ import annotations

from pathlib import Path

from storage.database import Database
from storage.migrations import load_queries
from storage.queue_store import queue_migrations


async def test_finding_work_reads_only_queues_that_have_some(tmp_path: Path) -> None:
    """Thousands of queues with delayed messages cost nothing: the plan is one range of an index."""
    database = Database.open(tmp_path / "plan.db", queue_migrations())
    plan = database.read("EXPLAIN QUERY PLAN " + load_queries("queues")["ready_queues"], (5,))
    database.close()
    assert "queue_heads_ready" in str(plan)
    assert "SCAN" not in str(plan)
    assert "TEMP B-TREE" not in str(plan)
