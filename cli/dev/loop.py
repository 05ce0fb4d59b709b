"""Bundle, deploy, tell what happens, and again at each change, until Ctrl-C."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

from cli.client import ApiClient
from cli.commands.logs import WAIT_MS
from cli.deploying import read_worker, send
from cli.dev.host import DevHost, check_port, prepare_folder
from cli.dev.lines import (
    Line,
    changed_text,
    egress_hint,
    error_lines,
    event_line,
    log_line,
)
from cli.dev.plan import NAMESPACE, Plan
from cli.dev.screen import Screen
from cli.dev.setting_up import prepare, route, wake
from cli.dev.watching import POLL_S, Stamp, changed, look, sources_below, watched
from cli.errors import ApiError, BadUsage, CliError, ExitCode, Unreachable
from cli.javascript_sources import NoBundler, Sources
from cli.output import printable, size
from cli.params import find_token

_ACCOUNT: Final = "default"
#: After an answer that was none.
_PAUSE_S: Final = 0.3


def run(plan: Plan, screen: Screen, *, fresh: bool) -> int:
    """Until SIGINT or SIGTERM, then 0: no process of it is left. Raises CliError when it can't begin."""
    before = look([plan.file, *sources_below(plan.root)])
    # What no change of a source mends ends it here: a file that is not there, a bundler that is missing.
    first = _read(plan)
    if isinstance(first, (BadUsage, NoBundler)):
        raise first
    check_port(plan.listen)
    prepare_folder(plan, fresh=fresh)
    loop = _Loop(plan, screen)
    with _signals(loop):
        try:
            client = loop.start()
            loop.deploy(client, first, before, "")
            loop.greet()
            loop.watch(client)
        except CliError:
            if not loop.stopping:
                raise
        finally:
            loop.stop()
    return ExitCode.OK


@contextmanager
def _signals(loop: _Loop) -> Iterator[None]:
    """The handlers only note it: raised into whatever runs, an exception would leave half of it behind."""

    def asked(number: int, frame: FrameType | None) -> None:
        loop.ask_to_stop()

    kept = {number: signal.signal(number, asked) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _read(plan: Plan) -> Sources | CliError:
    try:
        return read_worker(plan.file, stdin_taken=True)
    except CliError as error:
        return error


class _Loop:
    """One run. The calling thread bundles, deploys and watches; others show what the host and the worker say."""

    def __init__(self, plan: Plan, screen: Screen) -> None:
        self._plan = plan
        self._screen = screen
        self._host = DevHost(plan, self._tell)
        self._logs: threading.Thread | None = None
        self._seen: Mapping[Path, Stamp] = {}
        #: The last bundle or upload failed: any source near may be what it lacks.
        self._failed = False
        #: There is a version that answers; it may be an earlier run's.
        self._answers = False
        #: A version of this run has all that it asked for.
        self._woken = False
        self._hints: set[str] = set()
        self.stopping = False

    # -- from the start to the end ---------------------------------------------------------------------

    def start(self) -> ApiClient:
        """Returns when the host serves. Raises CliError."""
        self._host.start()
        self._host.wait()
        token = find_token(self._plan.data, given=True)
        client = ApiClient(self._host.api_url, token, _ACCOUNT)
        self._answers = prepare(client, self._plan)
        self._logs = threading.Thread(target=self._follow, args=(client,), name="worker-lines", daemon=True)
        self._logs.start()
        return client

    def greet(self) -> None:
        where = f"TENANTRY_URL={self._host.api_url} TENANTRY_DATA={self._plan.data}"
        self._show(f"other commands reach its host with: export {where}", "faint")
        self._show(f"{self._plan.deployment.name} is at {self._host.url} (Ctrl-C ends it)", "good")

    def watch(self, client: ApiClient) -> None:
        """Until it is asked to stop. Raises CliError when the host ended by itself."""
        while not self.stopping and not self._screen.broken:
            if (code := self._host.exit_code) is not None and not self.stopping:
                raise CliError(f"the host ended with {code}", hint=f"see {self._host.log}")
            now = self._look()
            if not (different := changed(self._seen, now)):
                time.sleep(POLL_S)
                continue
            now = self._settled(now)
            self.deploy(
                client, _read(self._plan), now, f"{changed_text(different, self._plan.root)} changed: "
            )

    def ask_to_stop(self) -> None:
        """By a signal's handler."""
        self.stopping = True
        self._host.ask_to_stop()

    def stop(self) -> None:
        self.stopping = True
        self._host.stop()
        if self._logs is not None:
            self._logs.join(WAIT_MS / 1000)

    # -- one round -------------------------------------------------------------------------------------

    def deploy(
        self, client: ApiClient, read: Sources | CliError, before: Mapping[Path, Stamp], why: str
    ) -> None:
        """Switch to a version of what was read, when the files were as `before`; `why` is told. A failure is shown."""
        try:
            if isinstance(read, CliError):
                raise read
            self._seen, self._failed = watched(before, read.inputs, self._plan.root), False
            sent = send(client, self._plan.deployment, read, quiet=True)
            route(client, self._plan)
            self._answers = True
            made = [*sent.made, *([] if self._woken else wake(client, self._plan))]
        except CliError as error:
            if not self.stopping:
                self._show_failure(error, before, why)
            return
        for thing in made:
            self._show(f"made {printable(thing)}", "faint")
        self._show_startup(sent.script)
        handlers = sent.script.get("handlers") or []
        self._show(f"{why}deployed, {size(read.size)}, handlers {printable(', '.join(handlers))}", "good")
        if not self._woken and "scheduled" in handlers:
            command = f"tenantry trigger scheduled {NAMESPACE} {self._plan.deployment.name}"
            self._show(f"its scheduled handler is run with: {command}", "faint")
        self._woken = True

    def _show_failure(self, error: CliError, before: Mapping[Path, Stamp], why: str) -> None:
        self._failed = True
        self._seen = {**self._look(), **before}
        if why:
            self._show(f"{why}not deployed", "bad")
        for line in error_lines(error):
            self._screen.show(line)
        if isinstance(error, ApiError):
            for problem in error.problems:
                self._show_startup(problem.meta)
        self._show(
            "the version before goes on answering"
            if self._answers
            else "nothing answers yet; it is tried again at a change",
            "warning",
        )

    def _show_startup(self, described: Mapping[str, Any]) -> None:
        """What the top level said when it ran, which is at no other time."""
        for line in described.get("startup_logs") or []:
            self._screen.show(log_line(line))

    def _look(self) -> dict[Path, Stamp]:
        paths = dict.fromkeys([self._plan.file, *self._seen] if self._failed else self._seen)
        return look([*paths, *(sources_below(self._plan.root) if self._failed else ())])

    def _settled(self, now: dict[Path, Stamp]) -> dict[Path, Stamp]:
        """Once nothing changes any more: an editor writes a file in steps, git a whole tree."""
        while not self.stopping:
            time.sleep(POLL_S / 2)
            later = self._look()
            if later == now:
                break
            now = later
        return now

    # -- on other threads ------------------------------------------------------------------------------

    def _tell(self, record: Mapping[str, Any]) -> None:
        if (line := event_line(record, self._plan.deployment.name)) is not None:
            self._screen.show(line)
        hint = egress_hint(record, allow_loopback=self._plan.allow_loopback)
        if hint and hint not in self._hints:
            self._hints.add(hint)
            self._show(f"hint: {hint}", "warning")

    def _follow(self, client: ApiClient) -> None:
        path, cursor = client.script(NAMESPACE, self._plan.deployment.name, "logs"), 0
        while not self.stopping:
            try:
                found = client.get(path, {"after": cursor, "wait_ms": WAIT_MS}, timeout_s=WAIT_MS / 1000 + 15)
            except (ApiError, Unreachable):
                # There is no version yet, or control starts again.
                time.sleep(_PAUSE_S)
                continue
            cursor = int(found["cursor"])
            for line in found["lines"]:
                self._screen.show(log_line(line))

    def _show(self, text: str, tone: Any = "plain") -> None:
        self._screen.show(Line(text, tone))
