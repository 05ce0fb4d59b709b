"""What this kernel gives, found out by taking it: `python -m processes.confinement_probe KIND` confines itself
and tells. In a child, since nothing can be given back.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from processes import profiles
from processes.confinement import InForce, Profile, confine

KINDS: Final = ("compile child", "worker", "control", "supervisor")
_ROOT: Final = Path(__file__).parents[1]


def probe_confinement() -> dict[str, InForce]:
    """Of each kind of process, what it would be held to here and now."""
    return {kind: _ask(kind) for kind in KINDS}


def _ask(kind: str) -> InForce:
    done = subprocess.run(
        [sys.executable, "-m", "processes.confinement_probe", kind],
        cwd=_ROOT,
        env={},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"the probe ended with {done.returncode}"])[-1]
        return InForce((), (f"anything ({last})",))
    held, missing = json.loads(done.stdout)
    return InForce(tuple(held), tuple(missing))


def _profile(kind: str) -> Profile:
    folder = Path(tempfile.gettempdir())
    if kind == "compile child":
        return profiles.compile_child()
    if kind == "worker":
        return profiles.worker((), folder)
    return profiles.control(folder, ()) if kind == "control" else profiles.supervisor(folder)


def main() -> None:
    in_force = confine(_profile(sys.argv[1]), "on")
    sys.stdout.write(json.dumps([in_force.held, in_force.missing]))


if __name__ == "__main__":
    main()
