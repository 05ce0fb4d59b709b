"""The engine as it was built here, or why there is none."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: Git-ignored, made by `make setup`, carried by a wheel.
BUILT: Final = Path(__file__).parent / "built" / "engine.wasm"


class EngineNotBuilt(Exception):
    """JavaScript can't be run here; the text says what to do about it."""


@dataclass(frozen=True, slots=True)
class BuiltEngine:
    wasm: bytes
    #: sha256 of it, hex: its module digest, and part of what a tenant's difference is made for.
    digest: str


def load_engine(path: Path = BUILT) -> BuiltEngine:
    """Raises EngineNotBuilt."""
    try:
        wasm = path.read_bytes()
    except FileNotFoundError:
        raise EngineNotBuilt(
            "this installation has no JavaScript engine: run `make setup` (or `python -m javascript.engine`) where PyPI"
            " and npm can be reached, or install a wheel that carries it"
        ) from None
    return BuiltEngine(wasm, hashlib.sha256(wasm).hexdigest())
