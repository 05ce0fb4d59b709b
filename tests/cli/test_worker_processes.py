"""Rule: a worker process speaks for itself, and spoils no other one's figures."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from cli.worker_processes import WorkerProcesses
from model.isolation import parse_groups


class Told:
    """The end of a worker process's channel, with what control hears on it."""

    def __init__(self) -> None:
        self.told: dict[str, Callable[[object], None]] = {}

    def on_notification(self, kind: str, handler: Callable[[object], None]) -> None:
        self.told[kind] = handler


def test_a_process_tells_figures_of_itself_alone() -> None:
    told: dict[str, Any] = {name: Told() for name in ("supervisor", "worker-0", "vip-0")}
    updated: list[str] = []
    totals: Any = SimpleNamespace(processes=(), update=lambda name, snapshot: updated.append(name))
    WorkerProcesses(told, parse_groups("vip:namespace=acme"), lambda ref: None, totals)
    for name in ("worker-0/11", "vip-0/12", "vip-01/13", "vip-0"):
        told["vip-0"].told["metrics"]([name, [], []])
    assert updated == ["vip-0/12"]
