"""esbuild, as the engine's tools have it pinned, for a test's project."""

from __future__ import annotations

import functools
from pathlib import Path

from javascript.engine.build import FOLDER
from javascript.engine.toolchain import Toolchain


@functools.cache
def _esbuild() -> Path:
    """Fetched by npm where the engine came without its tools."""
    tools = Toolchain(FOLDER)
    tools.prepare()
    (found,) = (tools.folder / "npm" / "node_modules" / "@esbuild").glob("*/bin/esbuild")
    return found


def install_esbuild(project: Path) -> None:
    """As npm would have put it into the project."""
    place = project / "node_modules" / ".bin" / "esbuild"
    place.parent.mkdir(parents=True)
    place.symlink_to(_esbuild())
