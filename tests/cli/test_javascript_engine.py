"""A host keeps to the JavaScript engine that it was started with, and says when the disk has another one."""

from __future__ import annotations

import hashlib
import logging

import pytest

from cli import javascript_engine
from cli.javascript_engine import EngineState, HostEngine, engine_of
from javascript.engine.artifact import BuiltEngine, EngineNotBuilt

BUILT = BuiltEngine(b"engine", hashlib.sha256(b"engine").hexdigest())


@pytest.mark.parametrize(
    ("on_disk", "started_with", "found", "says"),
    [
        (BUILT, BUILT.digest, HostEngine(EngineState.IN_USE, b"engine"), ""),
        (
            BUILT,
            "00" * 32,
            HostEngine(EngineState.REBUILT),
            "goes on with the one that it was started with; restart it",
        ),
        (BUILT, "", HostEngine(EngineState.REBUILT), "goes on with none; restart it"),
        (None, BUILT.digest, HostEngine(EngineState.MISSING), "build it with `make setup`"),
        (None, "", HostEngine(EngineState.MISSING), ""),
    ],
)
def test_what_control_finds_on_the_disk(
    on_disk: BuiltEngine | None,
    started_with: str,
    found: HostEngine,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def load() -> BuiltEngine:
        if on_disk is None:
            raise EngineNotBuilt("there is none")
        return on_disk

    monkeypatch.setattr(javascript_engine, "load_engine", load)
    with caplog.at_level(logging.WARNING):
        assert engine_of(started_with) == found
    assert says in caplog.text
    assert bool(caplog.text) == bool(says)
