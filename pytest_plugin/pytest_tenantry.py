"""Each case of a `*.policy.yaml` is a test. What it says is judged by `tenantry policy test`, in a process of its own:
Tenantry's packages have common names, and stay out of the environment that the user's tests run in.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

SUFFIX = ".policy.yaml"
COMMAND = "tenantry_command"
#: A document of 10,000 cases takes seconds; a command that waits for something would wait for ever.
TIMEOUT_S = 120.0


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(COMMAND, "How Tenantry is called, for *.policy.yaml.", default="tenantry")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> PolicyFile | None:
    if not file_path.name.endswith(SUFFIX):
        return None
    return PolicyFile.from_parent(parent, path=file_path)


class PolicyFile(pytest.File):
    def collect(self) -> Iterator[PolicyCase]:
        names: Counter[str] = Counter()
        for row in judged(self.path, str(self.config.getini(COMMAND)), self.CollectError):
            name = str(row["name"])
            names[name] += 1
            if names[name] > 1:  # pytest tells tests apart by name
                name = f"{name} ({names[name]})"
            yield PolicyCase.from_parent(self, name=name, row=row)


class PolicyCase(pytest.Item):
    def __init__(self, *, row: dict[str, Any], **rest: Any) -> None:
        super().__init__(**rest)
        self.row = row

    def runtest(self) -> None:
        if not self.row["passed"]:
            raise CaseFailed(str(self.row["problem"]))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *_: object) -> str:
        if not isinstance(excinfo.value, CaseFailed):
            return str(super().repr_failure(excinfo))
        return f"{self.path.name}:{self.row['line']}: {self.row['request']}\n{excinfo.value}"

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, int(self.row["line"]) - 1, self.name


class CaseFailed(AssertionError):
    """The message says what was expected, and what came."""


def judged(file: Path, command: str, error: type[Exception]) -> list[dict[str, Any]]:
    """What `tenantry policy test --json` says of each case. Raises `error` when the file can't be judged."""
    name, *arguments = shlex.split(command)
    found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None:
        raise error(
            f"there is no {name!r} on the PATH, which judges {file.name}; install tenantry, or name it as "
            f"{COMMAND} in pytest's configuration"
        )
    try:
        ended = subprocess.run(
            [found, *arguments, "policy", "test", file.name, "--json"],
            cwd=file.parent,
            # A `model` or a `cli` of the user's must not stand before Tenantry's.
            env={
                name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")
            },
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as failed:
        raise error(f"{command} could not judge {file.name}: {failed}") from failed
    # 1: cases did not pass. Anything else: nothing was judged.
    if ended.returncode not in (0, 1) or not ended.stdout:
        raise error(ended.stderr.strip() or f"{command} ended with exit code {ended.returncode}")
    try:
        return cast("list[dict[str, Any]]", json.loads(ended.stdout))
    except ValueError as failed:
        raise error(f"{command} answered what is no JSON: {ended.stdout[:200]!r}") from failed
