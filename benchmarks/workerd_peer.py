"""workerd, as its users run it: JavaScript tenants behind a JavaScript dispatcher, which stay warm.

It makes an isolate once and runs every request in it; we make a sandbox for every request. Its tenants and its
dispatcher answer with the bytes of our hello worker.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks import peers
from benchmarks.host import BenchFailed, free_ports
from benchmarks.load import get
from benchmarks.raw_http import exchange_once

_START_S: Final = 20.0
_DATE: Final = "2026-01-01"
_TENANT: Final = 'export default { fetch() { return new Response("Hello from C!\\n"); } };\n'
#: The first label of the host name is the tenant, as our routes have it.
_DISPATCHER: Final = """
export default { fetch(request, env) {
  const host = request.headers.get("host");
  return env[host.slice(0, host.indexOf("."))].fetch(request);
} };
"""
_LOADER: Final = """
const code = { compatibilityDate: "%s", mainModule: "tenant.js", modules: { "tenant.js": %s } };
export default { fetch(request, env) {
  const host = request.headers.get("host");
  return env.LOADER.get(host.slice(0, host.indexOf(".")), () => code).getEntrypoint().fetch(request);
} };
"""
#: `load` names nothing and keeps nothing: a new isolate, as every request has one with us, which is deleted once it
#: has answered. A new name for each request takes as long, and its isolates stay: 1.6 MiB each.
_FRESH: Final = """
const code = { compatibilityDate: "%s", mainModule: "tenant.js", modules: { "tenant.js": %s } };
export default { fetch(request, env) {
  return env.LOADER.load(code).getEntrypoint().fetch(request);
} };
"""


@dataclass(frozen=True, slots=True)
class Workerd:
    """A running one. `services` is the port of the dispatcher with a service for each tenant, `loader` the port
    of one that makes tenants with the dynamic loader when they are first asked for, `fresh` of one that makes one
    for every request.
    """

    pid: int
    services: int
    loader: int
    fresh: int


@contextmanager
def workerd(tenants: int, source: str = _TENANT) -> Iterator[Workerd]:
    """`t0.localhost` … are its tenants, each a worker of this source. Raises PeerMissing."""
    executable = peers.workerd()
    services, loader, fresh = free_ports(3)
    with tempfile.TemporaryDirectory(prefix="tenantry-peer-") as name:
        folder = Path(name)
        (folder / "tenant.js").write_text(source)
        (folder / "dispatcher.js").write_text(_DISPATCHER)
        (folder / "loader.js").write_text(_LOADER % (_DATE, json.dumps(source)))
        (folder / "fresh.js").write_text(_FRESH % (_DATE, json.dumps(source)))
        (folder / "config.capnp").write_text(_config(tenants, services, loader, fresh))
        log = folder / "log"
        with log.open("wb") as out:
            # The dynamic loader is behind this switch; nothing else is changed by it.
            command = [str(executable), "serve", "--experimental", "config.capnp"]
            process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=out)
        try:
            deadline = time.monotonic() + _START_S
            while not (
                exchange_once(services, get("t0.localhost")) and exchange_once(loader, get("t0.localhost"))
            ):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise BenchFailed(
                        f"workerd did not become ready: {log.read_text(errors='replace')[-500:]}"
                    )
                time.sleep(0.02)
            yield Workerd(process.pid, services, loader, fresh)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _config(tenants: int, services: int, loader: int, fresh: int) -> str:
    names = [f"t{number}" for number in range(tenants)]
    workers = "\n".join(f'    (name = "{name}", worker = .tenant),' for name in names)
    bindings = ", ".join(f'(name = "{name}", service = "{name}")' for name in names)

    def worker(name: str, module: str, bindings: str) -> str:
        return (
            f'const {name} :Workerd.Worker = (modules = [(name = "{module}", esModule = embed "{module}")], '
            f'compatibilityDate = "{_DATE}", bindings = [{bindings}]);\n'
        )

    return (
        'using Workerd = import "/workerd/workerd.capnp";\n'
        "const config :Workerd.Config = (\n  services = [\n"
        '    (name = "dispatcher", worker = .dispatcher),\n    (name = "loading", worker = .loading),\n'
        '    (name = "fresh", worker = .fresh),\n'
        f"{workers}\n  ],\n  sockets = [\n"
        f'    (name = "a", address = "127.0.0.1:{services}", http = (), service = "dispatcher"),\n'
        f'    (name = "b", address = "127.0.0.1:{loader}", http = (), service = "loading"),\n'
        f'    (name = "c", address = "127.0.0.1:{fresh}", http = (), service = "fresh"),\n  ]\n);\n'
        + worker("tenant", "tenant.js", "")
        + worker("dispatcher", "dispatcher.js", bindings)
        + worker("loading", "loader.js", '(name = "LOADER", workerLoader = ())')
        + worker("fresh", "fresh.js", '(name = "LOADER", workerLoader = ())')
    )
