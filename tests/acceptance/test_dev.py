"""`tenantry dev` as its developer has it: the command on real files, with a real esbuild, in a process of its own."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from demo.host import ROOT
from tests.support.esbuild import install_esbuild
from tests.support.javascript_engine import built_engine
from tests.support.waiting import wait_until

built_engine()

#: A host and the engine are started before the first line: on a busy machine that is half a minute.
_START_S = 200.0

INDEX = """\
import { price } from "./price";
interface Env { NOTES: any; ORDERS: any; GREETING: string }
export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const { pathname } = new URL(request.url);
    console.log("asked for", pathname);
    if (pathname === "/price") return new Response(String(price(request.headers.get("item"))));
    if (pathname === "/order") await env.ORDERS.send("tea");
    if (pathname === "/count") {
      const count = Number(await env.NOTES.get("count")) + 1;
      await env.NOTES.put("count", String(count));
      return new Response(String(count));
    }
    return new Response(env.GREETING);
  },
  async queue(batch: any): Promise<void> { console.log("ordered", batch.messages[0].body); },
  async scheduled(event: any): Promise<void> { console.log("it is time:", event.cron); },
};
"""
PRICE = """\
export function price(item: string | null): number {
  if (item === null) throw new TypeError("nothing has no price");
  return item.length;
}
"""


class Dev:
    """One run of the command. All that it printed goes to a file, so that nobody has to read for it to go on."""

    def __init__(self, project: Path, *arguments: str) -> None:
        self.project = project
        self._printed = project.parent / f"{project.name}.out"
        #: Of the machine's other host: nothing of it may count here.
        others = {
            "TENANTRY_WORKERS": "none",
            "TENANTRY_DATA": "/nowhere",
            "TENANTRY_URL": "http://127.0.0.1:1",
        }
        with self._printed.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cli.main", "dev", "--port", "0", *arguments],
                cwd=project,
                env=os.environ | {"PYTHONPATH": str(ROOT)} | others,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )

    def printed(self, after: int = 0) -> str:
        """From that character on."""
        return self._printed.read_text()[after:]

    def mark(self) -> int:
        return len(self.printed())

    def wait_for(self, text: str, after: int = 0) -> None:
        def is_there() -> bool:
            if self.process.poll() is not None:
                pytest.fail(f"it ended with {self.process.returncode}:\n{self.printed()}")
            return text in self.printed(after)

        wait_until(is_there, _START_S)

    @property
    def url(self) -> str:
        self.wait_for("Ctrl-C ends it")
        found = re.search(r"is at (http://\S+) ", self.printed())
        assert found is not None
        return found[1]

    def ask(self, path: str = "/", **headers: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=60)
        try:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(120)


def write(project: Path, **files: str) -> Path:
    (project / "src").mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (project / "src" / f"{name}.ts").write_text(text)
    return project


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """Of a project in TypeScript that has all, and was wrong when it was started."""
    project = write(tmp_path_factory.mktemp("dev") / "shop", index="export default {", price=PRICE)
    (project / "package.json").write_text('{"name": "shop", "type": "module"}')
    install_esbuild(project)
    (project / ".tenantry/cli").mkdir(parents=True)
    (project / ".tenantry/cli/__init__.py").write_text("open(__file__ + '.ran', 'x').close()")
    bindings = ("--kv", "NOTES=notes", "--queue", "ORDERS=orders", "--consume", "orders")
    made = Dev(project, "src/index.ts", "--var", "GREETING=hello", *bindings)
    try:
        made.wait_for("nothing answers yet")
        assert made.ask()[0] == 404
        write(project, index=INDEX)
        made.wait_for("\nsrc/index.ts changed: deployed, ")
        yield made
    finally:
        code = made.end(signal.SIGINT)
    assert code == 0


def test_it_answers_and_tells_each_request_and_what_was_logged(shop: Dev) -> None:
    assert shop.ask("/first") == (200, "hello")
    shop.wait_for("GET /first 200 (")
    shop.wait_for("  info   asked for /first\n")
    assert "made KV namespace notes\n" in shop.printed()
    assert "\x1b" not in shop.printed()


def test_no_module_that_lies_in_the_project_is_taken_for_the_host_s(shop: Dev) -> None:
    assert shop.ask()[0] == 200
    assert [path.name for path in (shop.project / ".tenantry/cli").iterdir()] == ["__init__.py"]


def price_times(shop: Dev, factor: int) -> str:
    """The source that makes tea cost three times `factor`, once it is what answers."""
    text = PRICE.replace("item.length", f"item.length * {factor}")
    write(shop.project, price=text)
    wait_until(lambda: shop.ask("/price", item="tea") == (200, str(3 * factor)))
    return text


def test_a_change_of_a_file_that_was_imported_arrives(shop: Dev) -> None:
    mark = shop.mark()
    price_times(shop, 2)
    shop.wait_for("src/price.ts changed: deployed, ", mark)


def test_what_does_not_bundle_or_run_is_told_with_its_place_and_the_version_before_answers(shop: Dev) -> None:
    text = price_times(shop, 3)
    mark = shop.mark()
    write(shop.project, price=text.replace("return", "return {"))
    shop.wait_for("src/price.ts:3:", mark)  # esbuild
    shop.wait_for("the version before goes on answering\n", mark)
    assert shop.ask("/price", item="tea") == (200, "9")
    mark = shop.mark()
    write(shop.project, price=f'{text}\nthrow new Error("at the top");\n')
    shop.wait_for("error: Uncaught Error: at the top at src/price.ts:6:11\n", mark)
    shop.wait_for("the version before goes on answering\n", mark)
    assert shop.ask("/price", item="tea") == (200, "9")
    # What it lacks may be a file that is not there yet.
    mark = shop.mark()
    write(shop.project, price='export { price } from "./later";\n')
    shop.wait_for('Could not resolve "./later"', mark)
    shop.wait_for("the version before goes on answering\n", mark)
    assert shop.ask("/price", item="tea") == (200, "9")
    write(shop.project, later=PRICE.replace("item.length", "4"))
    wait_until(lambda: shop.ask("/price", item="tea") == (200, "4"))


def test_an_exception_is_told_once_with_its_trace_in_the_sources(shop: Dev) -> None:
    price_times(shop, 5)
    mark = shop.mark()
    assert shop.ask("/price")[0] == 500
    shop.wait_for("GET /price 500 exception (", mark)
    assert shop.ask("/after") == (200, "hello")
    shop.wait_for("asked for /after", mark)  # the worker's lines come in their order
    told = shop.printed(mark)
    assert told.count("nothing has no price") == 1
    assert re.search(
        r"  error  Uncaught TypeError: nothing has no price\n"
        r" +at price \(src/price\.ts:2:\d+\)\n +at fetch \(src/index\.ts:7:\d+\)\n",
        told,
    )


def test_queued_messages_and_the_scheduled_handler_reach_it(shop: Dev) -> None:
    assert shop.ask("/order") == (200, "hello")
    shop.wait_for("ordered tea")
    shop.wait_for("queue ok (")
    told = re.search(r"export (TENANTRY_URL=\S+) (TENANTRY_DATA=\S+)", shop.printed())
    assert told is not None
    command = "tenantry trigger scheduled dev shop"
    assert f"\nits scheduled handler is run with: {command}\n" in shop.printed()
    subprocess.run(
        [sys.executable, "-m", "cli.main", *command.split()[1:], "--cron", "0 3 * * *"],
        env=os.environ | dict(variable.split("=", 1) for variable in told.groups()),
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=120,
    )
    shop.wait_for("it is time: 0 3 * * *")


def test_a_project_has_one_run_at_a_time(shop: Dev) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "cli.main", "dev", str(shop.project), "--port", "0"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert second.returncode == 1
    assert "has a `tenantry dev` running" in second.stderr
    assert shop.ask() == (200, "hello")


def processes_of(pid: int) -> set[int]:
    """With all below it."""
    found = {pid}
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return found
    for child in children:
        found |= processes_of(int(child))
    return found


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


COUNTER = """\
export default {
  async fetch(request, env) {
    const count = Number(await env.NOTES.get("count")) + 1;
    await env.NOTES.put("count", String(count));
    return new Response(String(count));
  },
};
"""


def test_kv_outlasts_a_run_and_no_process_does(tmp_path: Path) -> None:
    project = tmp_path / "counter"
    project.mkdir()
    (project / "index.js").write_text(COUNTER)
    # What each run ends by, and what it counted: the last was told to begin anew.
    for number, arguments, counted in (
        (signal.SIGINT, (), "1"),
        (signal.SIGKILL, (), "2"),
        (signal.SIGTERM, ("--fresh",), "1"),
    ):
        run = Dev(project, "--kv", "NOTES=notes", *arguments)
        try:
            assert run.ask() == (200, counted)
            below = processes_of(run.process.pid)
            assert len(below) >= 4  # itself, the supervisor, control, a worker process
            code = run.end(number)
        finally:
            run.process.kill()
            run.process.wait()
        assert code == (0 if number != signal.SIGKILL else -signal.SIGKILL)
        wait_until(lambda pids=below: not any(lives(pid) for pid in pids))  # type: ignore[misc]
    assert (project / ".tenantry" / ".gitignore").read_text() == "*\n"
