"""The process that compiles one upload and dies: `python -m cli.compile_process MODE PARENT`.

Everything is imported before it gives up its rights, and that before it reads the first byte of the upload.
MODE is the setting `--confinement`, PARENT the process id of control, with which it ends.
"""

from __future__ import annotations

import os
import sys

from processes import profiles
from processes.confinement import confine
from runtime import compile_child


def argv(mode: str) -> list[str]:
    """For runtime.compile.Compiler, in control."""
    return [sys.executable, "-m", "cli.compile_process", mode, str(os.getpid())]


def main() -> None:
    mode, parent = sys.argv[1], int(sys.argv[2])
    compile_child.main(lambda: confine(profiles.compile_child(parent), mode))


if __name__ == "__main__":
    main()
