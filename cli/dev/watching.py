"""Which of some files changed, by looking at them again and again.

Looking costs 2 µs a file, and works where the kernel tells nothing: on network and container mounts, too.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

#: Seconds between two looks.
POLL_S: Final = 0.1

#: Of a file: when it was written, its size, which one it is. None: there is no file.
Stamp = tuple[int, int, int] | None
Seen = Mapping[Path, Stamp]

#: What a worker may be made of.
_SOURCES: Final = frozenset(
    (
        ".js",
        ".mjs",
        ".cjs",
        ".ts",
        ".mts",
        ".cts",
        ".tsx",
        ".jsx",
        ".json",
        ".txt",
        ".html",
        ".sql",
        ".css",
        ".wasm",
    )
)
_MOST_FILES: Final = 2_000
#: Of the project: what decides how it is bundled, although no part of it is.
_SETTINGS: Final = ("package.json", "tsconfig.json")


def look(paths: Iterable[Path]) -> dict[Path, Stamp]:
    return {path: _stamp(path) for path in paths}


def _stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None  # a folder changes with whatever is written into it
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def changed(before: Seen, after: Seen) -> list[Path]:
    """Pure. What is in one alone, and there, counts as changed."""
    return [path for path in {**before, **after} if before.get(path) != after.get(path)]


def watched(before: Seen, inputs: Sequence[Path], root: Path) -> dict[Path, Stamp]:
    """What to compare with from now on, of a worker that was made of `inputs`. What was known `before` it was made
    keeps its stamp: a file that was written meanwhile may be in it with what it had before.
    """
    now = look((*inputs, *(root / name for name in _SETTINGS)))
    return {path: before.get(path, stamp) for path, stamp in now.items()}


def sources_below(root: Path) -> Iterator[Path]:
    """All that may belong to a worker that can't be made as it is: what it lacks may be a file that is not there yet.
    Of a folder with a whole disk in it, the beginning.
    """
    left = _MOST_FILES
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name != "node_modules" and not name.startswith("."))
        yield from (Path(folder, name) for name in names if os.path.splitext(name)[1] in _SOURCES)
        left -= 1 + len(names)
        if left <= 0:
            return
