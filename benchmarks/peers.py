"""Other programs to compare with: installed on first use into build/peers, by pip and npm, never by the project.

Nothing of them is in the lock files: a machine that can't have one skips its rows, and says so.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.host import ROOT

FOLDER: Final = ROOT / "build" / "peers"
WORKERD_VERSION: Final = "1.20261117.1"
EXTISM_VERSION: Final = "1.1.1"
CEL_VERSION: Final = "0.1.3"
PROCRASTINATE_VERSION: Final = "3.10.0"
_INSTALL_S: Final = 300


class PeerMissing(Exception):
    """The peer can't be had here: its rows are skipped. Says why, in one line."""


def workerd() -> Path:
    """Its executable."""
    folder = FOLDER / "node"
    found = _workerd_in(folder)
    if found is None:
        npm = shutil.which("npm")
        if npm is None:
            raise PeerMissing("workerd: there is no npm here to install it with")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"private": true}\n')
        # The executable is a package for each platform; the install script only looks for it.
        options = ("--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts")
        _install("workerd", [npm, "install", *options, f"workerd@{WORKERD_VERSION}"], folder)
        found = _workerd_in(folder)
    if found is None:
        raise PeerMissing("workerd: its package has no executable for this platform")
    return found


def _workerd_in(folder: Path) -> Path | None:
    return next(iter(folder.glob("node_modules/@cloudflare/workerd-*/bin/workerd")), None)


def extism() -> Path:
    """The site-packages folder that has it, for a PYTHONPATH: the same Python as ours."""
    return _python_package("venv", "extism", f"extism=={EXTISM_VERSION}")


def cel() -> Path:
    """The same for Google's CEL."""
    return _python_package("cel", "cel_expr_python", f"cel-expr-python=={CEL_VERSION}")


def procrastinate() -> Path:
    """The same for procrastinate, with psycopg's binary wheel."""
    return _python_package(
        "procrastinate", "procrastinate", f"procrastinate=={PROCRASTINATE_VERSION}", "psycopg[binary,pool]"
    )


def _python_package(environment: str, name: str, *requirements: str) -> Path:
    folder = FOLDER / environment
    packages = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    if not (packages / name).is_dir():
        _install(name, [sys.executable, "-m", "venv", "--clear", str(folder)], ROOT)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        _install(name, [*pip, "--disable-pip-version-check", *requirements], ROOT)
    return packages


def _install(name: str, command: Sequence[str], folder: Path) -> None:
    try:
        subprocess.run(
            command,
            cwd=folder,
            check=True,
            timeout=_INSTALL_S,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise PeerMissing(f"{name} can't be installed: {said[-1]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerMissing(f"{name} can't be installed: {error}") from error
