"""The host that `tenantry dev` starts for itself: `tenantry serve` on a data folder beside the project, as a child."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final, cast

from cli.dev.plan import Plan
from cli.errors import BadUsage, CliError
from processes.listeners import ListenAddress, PortGroup
from processes.serve_lock import AlreadyServing, serve_lock

#: Running events may go on so long when it ends.
_DRAIN_S: Final = 0.2
#: Then it is killed, and its processes with it.
_STOP_S: Final = 20.0
_SERVING: Final = re.compile(r"serving (http://\S+)  \(API: (http://\S+)\)")
_MODULE: Final = "cli.dev.host_process"


def prepare_folder(plan: Plan, *, fresh: bool) -> None:
    """Make what is kept beside the project, empty where it is to be `fresh`. Raises CliError."""
    for path in (plan.folder, plan.data):
        # A project comes from anybody, and its links with it: what is written and thrown away here is ours alone.
        if path.is_symlink():
            raise CliError(f"{path} is a link", hint="remove it; what is kept stays beside the project")
    try:
        plan.folder.mkdir(exist_ok=True)
        # As virtual environments do: no repository takes it up, whatever its own .gitignore has.
        with _opened_anew(plan.folder / ".gitignore") as ignored:
            ignored.write(b"*\n")
        plan.data.mkdir(exist_ok=True, mode=0o700)
        with serve_lock(plan.data / "serve.lock"):
            if fresh:
                shutil.rmtree(plan.data)
    except AlreadyServing as error:
        raise CliError(
            f"{plan.root} has a `tenantry dev` running: {error}", hint="end that one first, with Ctrl-C"
        ) from None
    except OSError as error:
        raise CliError(f"cannot write {error.filename or plan.folder}: {error.strerror}") from error


@contextmanager
def _opened_anew(path: Path) -> Iterator[IO[bytes]]:
    """In place of what was there, where that was a link, too."""
    path.unlink(missing_ok=True)
    with path.open("xb") as file:
        yield file


def check_port(listen: ListenAddress) -> None:
    """Raises CliError when nobody can listen there."""
    try:
        PortGroup(listen).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CliError(
                f"port {listen.port} of {listen.host} is in use",
                hint="--port NUMBER names another one, --port 0 takes a free one",
            ) from error
        if error.errno == errno.EADDRNOTAVAIL:
            raise BadUsage(f"--host {listen.host}: this machine has no such address") from error
        raise CliError(f"cannot listen on {listen}: {error.strerror}", hint="--port NUMBER") from error


class DevHost:
    """`told` is given what the host prints as JSON (access lines, egress decisions), on a thread of its own."""

    def __init__(self, plan: Plan, told: Callable[[Mapping[str, Any]], None]) -> None:
        self._plan = plan
        self._told = told
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._serving = threading.Event()
        self._asked = False
        #: Where visitors go, and where its API is; "" until `wait` has returned.
        self.url = ""
        self.api_url = ""

    @property
    def log(self) -> Path:
        """What it has to say of itself."""
        return self._plan.folder / "dev.log"

    def start(self) -> None:
        """By the thread that lives as long as the host should."""
        command = [
            *(sys.executable, "-m", _MODULE, str(os.getpid())),
            *("--data", str(self._plan.data), "--http", str(self._plan.listen)),
            *("--control", "127.0.0.1:0", "--workers", "1", "--drain-s", str(_DRAIN_S)),
        ]
        # What the environment says of hosts is about another one.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TENANTRY_")}
        with _opened_anew(self.log) as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                # Nowhere in the project: Python, and that of the host's processes, would look for modules there.
                cwd="/",
                env=environment,
                encoding="utf-8",
                errors="replace",
                # A Ctrl-C is ours: we end it in order.
                start_new_session=True,
            )
        stdout = cast(IO[str], self._process.stdout)
        self._reader = threading.Thread(target=self._read, args=(stdout,), name="host-lines", daemon=True)
        self._reader.start()

    def wait(self) -> None:
        """Until it serves. Raises CliError when it ends instead."""
        self._serving.wait()
        if not self.url:
            code = self._process.wait() if self._process is not None else 0
            raise CliError(
                f"the host did not start (it ended with {code}){self._said()}", hint=f"see {self.log}"
            )

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return None if self._process is None else self._process.poll()

    def ask_to_stop(self) -> None:
        """May be called by a signal's handler; whoever waits for it to serve waits no more. A second time, what still
        runs there is killed.
        """
        if self._process is not None:
            self._asked = True
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """When it returns there is no process of it any more."""
        if self._process is None:
            return
        if not self._asked:
            self.ask_to_stop()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._reader is not None:
            # A child of it that still ends may hold the pipe.
            self._reader.join(_STOP_S)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _read(self, stdout: IO[str]) -> None:
        with suppress(ValueError):  # closed while we read
            for line in stdout:
                self._take(line)
        self._serving.set()

    def _take(self, line: str) -> None:
        if line.startswith("{"):
            with suppress(ValueError):
                self._told(json.loads(line))
        elif (match := _SERVING.match(line)) is not None:
            self.url, self.api_url = match[1], match[2]
            self._serving.set()

    def _said(self) -> str:
        """Its own words on why, if it had any."""
        try:
            lines = self.log.read_text(errors="replace").splitlines()
        except OSError:
            return ""
        errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        return f": {'; '.join(errors)}" if errors else ""
