"""The JavaScript engine that this host was set up with: the module that `python -m javascript.engine` builds."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from enum import StrEnum

from javascript.engine.artifact import BuiltEngine, EngineNotBuilt, load_engine

_log = logging.getLogger("tenantry.javascript")


class EngineState(StrEnum):
    """What is on the disk, to the host that runs: the labels of `tenantry_javascript_engine`."""

    IN_USE = "in_use"
    #: Another build than the host was started with, or the first one.
    REBUILT = "rebuilt"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class HostEngine:
    """`wasm` is the module that the host was started with, b"" unless it is in use."""

    state: EngineState
    wasm: bytes = b""


def engine_digest() -> str:
    """sha256 of the module, hex; "" where none was built: then JavaScript is refused, and all else works."""
    engine = _find()
    return "" if engine is None else engine.digest


def engine_of(digest: str) -> HostEngine:
    """For a control process that starts, maybe long after its host, which was started with the engine `digest`; "" for
    none. A host keeps to one engine, since all its processes and every worker's delta are of it.
    """
    found = _find()
    if found is None:
        if digest:
            _log.warning(
                "the JavaScript engine is not there any more: the host goes on with what it compiled of it; build it"
                " with `make setup` before the host is restarted"
            )
        return HostEngine(EngineState.MISSING)
    if found.digest != digest:
        _log.warning(
            "another JavaScript engine was built since the host's start: the host goes on with %s; restart it to take"
            " the new one up",
            "the one that it was started with" if digest else "none",
        )
        return HostEngine(EngineState.REBUILT)
    return HostEngine(EngineState.IN_USE, found.wasm)


def why_no_engine() -> str | None:
    """For the operator; None when there is one."""
    try:
        load_engine()
    except EngineNotBuilt as why:
        return str(why)
    return None


def _find() -> BuiltEngine | None:
    try:
        return load_engine()
    except EngineNotBuilt as why:
        _log.info("no JavaScript: %s", why)
        return None
