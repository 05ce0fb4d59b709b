"""Make `built/engine.wasm`, unless it is what the recipe makes already.

The same sources give the same bytes: `engine.sha256` has their digest, and a build that differs says so.
"""

from __future__ import annotations

import hashlib
import platform
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from javascript.engine import artifact
from javascript.engine.snapshot import snapshot
from javascript.engine.starting import start_engine_image
from javascript.engine.toolchain import GLUE, PRELUDE, REQUIREMENTS, ROOT, SOURCE_REQUIREMENTS, Toolchain

_HERE: Final = Path(__file__).parent
#: The digest of what this recipe makes, and the platform on which it was found.
RECORD: Final = _HERE / "engine.sha256"
FOLDER: Final = ROOT / "build" / "javascript"

#: All that a finished engine exports; what built it is gone.
EXPORTS: Final = (
    "memory",
    "__stack_pointer",
    "alloc",
    "fetch",
    "queue",
    "scheduled",
    "tail",
    "js_compile",
    "js_load",
    "js_warm",
)


def recipe_digest() -> str:
    """Of everything of ours that the engine is made from."""
    files = [
        *_glue(),
        *sorted((PRELUDE / "src").rglob("*.js")),
        PRELUDE / "package-lock.json",
        REQUIREMENTS,
        SOURCE_REQUIREMENTS,
        *(
            _HERE / name
            for name in (
                "build.py",
                "commands.py",
                "npm.py",
                "placing.py",
                "snapshot.py",
                "starting.py",
                "toolchain.py",
                "training.py",
            )
        ),
    ]
    return _digest_of(files)


def _glue() -> list[Path]:
    return sorted(path for path in GLUE.iterdir() if path.suffix in (".c", ".cpp", ".h"))


def _digest_of(files: Iterable[Path]) -> str:
    whole = hashlib.sha256()
    for path in files:
        data = path.read_bytes()
        whole.update(f"{path.name}\0{len(data)}\0".encode())
        whole.update(data)
    return whole.hexdigest()


def is_current(built: Path = artifact.BUILT) -> bool:
    """It was built by this recipe."""
    mark = built.with_suffix(".recipe")
    return built.is_file() and mark.is_file() and mark.read_text() == recipe_digest()


def build(built: Path = artifact.BUILT, folder: Path = FOLDER) -> bytes:
    """Build it anew. Raises ToolFailed, PreludeFailed, TrainingFailed, NotSnapshottable."""
    recipe = recipe_digest()
    tools = Toolchain(folder)
    tools.prepare()
    raw = _compiled(tools, folder)
    engine = snapshot(raw, start_engine_image(raw, tools.bundle(), EXPORTS), EXPORTS)
    built.parent.mkdir(exist_ok=True)
    built.write_bytes(engine)
    built.with_suffix(".recipe").write_text(recipe)
    return engine


def _compiled(tools: Toolchain, folder: Path) -> bytes:
    """C takes half a minute, and the prelude changes more often."""
    key = _digest_of([*_glue(), REQUIREMENTS, SOURCE_REQUIREMENTS, _HERE / "toolchain.py"])
    raw = folder / f"raw-{key[:16]}.wasm"
    if not raw.is_file():
        for old in folder.glob("raw-*.wasm"):
            old.unlink()
        tools.compile(folder / "raw.part")
        (folder / "raw.part").rename(raw)
    return raw.read_bytes()


def this_platform() -> str:
    return f"{sys.platform} {platform.machine()}"


def difference_to_record(engine: bytes) -> str | None:
    """None: it is, byte for byte, what the repository says. Otherwise what that means here."""
    digest = hashlib.sha256(engine).hexdigest()
    expected, _, where = RECORD.read_text().strip().partition("  ")
    if digest == expected:
        return None
    if where == this_platform():
        return (
            f"the engine's digest is {digest}, and {RECORD.name} says {expected}: the sources were changed, or the"
            " build was; `python -m javascript.engine --record` takes the new one"
        )
    return (
        f"the engine's digest is {digest}; on {where} it is {expected}. It works alike: deployments are remade"
        " when they move between machines whose engines differ"
    )


def record(engine: bytes) -> None:
    RECORD.write_text(f"{hashlib.sha256(engine).hexdigest()}  {this_platform()}\n")
