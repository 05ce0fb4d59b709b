"""The JavaScript engine that `make setup` built, for tests."""

from __future__ import annotations

import os

import pytest

from javascript.engine.artifact import BuiltEngine, EngineNotBuilt, load_engine


def built_engine() -> BuiltEngine:
    """Skips, a whole module when it is imported, or fails in CI, where there is none."""
    try:
        return load_engine()
    except EngineNotBuilt as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error), allow_module_level=True)
