"""The JavaScript engine that this host was set up with: the module that `python -m javascript.engine` builds."""

from __future__ import annotations

import logging

from javascript.engine.artifact import BuiltEngine, EngineNotBuilt, load_engine

_log = logging.getLogger("tenantry.javascript")


def engine_digest() -> str:
    """sha256 of the module, hex; "" where none was built: then JavaScript is refused, and all else works."""
    engine = _find()
    return "" if engine is None else engine.digest


def engine_of(digest: str) -> bytes:
    """The module that the host was started with; b"" where there was none, or it has been built anew since."""
    engine = _find() if digest else None
    if engine is not None and engine.digest == digest:
        return engine.wasm
    if digest:
        _log.error("the JavaScript engine is another one than at the start of the host: restart the host")
    return b""


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
