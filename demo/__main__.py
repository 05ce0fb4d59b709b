"""The main job, from an empty folder to two tenants and their limits; `--exit` ends instead of serving on."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from demo.host import ROOT, Answer, DemoFailed, Host
from demo.upstream import start_api, start_dns

SAMPLES = ROOT / "sample_workers"


def wasm(name: str) -> str:
    return str(SAMPLES / name / f"{name}.wasm")


def title(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n== {text}")


class Story:
    """What is shown, step by step. Each step raises DemoFailed when it did not happen."""

    def __init__(self, host: Host, api_port: int) -> None:
        self.host = host
        self.api_port = api_port

    def ask(
        self,
        hostname: str,
        path: str = "/",
        *,
        expect: int = 200,
        contains: str = "",
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """Make a request, print what went in and what came out, and hold it to what was expected."""
        answer = self.host.request(hostname, path, method=method, headers=headers, body=body)
        extra = "".join(f"  {name}: {value}" for name, value in (headers or {}).items())
        shown = " ".join(answer.body.split())[:220]
        print(f"  → {method} http://{hostname}{path}{extra}\n  ← {answer.status} {shown}")
        if answer.status != expect or contains not in answer.body:
            raise DemoFailed(
                f"{hostname}{path}: expected {expect} with {contains!r}, got {answer.status} {answer.body[:500]}"
            )
        return answer

    def deploy(self) -> None:
        title("1. Two tenants deploy workers, in C and in Zig")
        run = self.host.tenantry
        ns = ("--namespace", "production")
        run(
            "deploy", wasm("hello"), "--name", "acme", *ns, "--tenant", "acme", "--hostname", "acme.localhost"
        )
        run(
            *("deploy", wasm("hello_zig"), "--name", "globex", *ns, "--tenant", "globex"),
            *("--var", "GREETING=Bonjour", "--hostname", "globex.localhost"),
        )
        self.ask("acme.localhost", contains="Hello from C")
        self.ask("globex.localhost", contains="Bonjour")

    def route(self) -> None:
        title("2. Routes: exact hostname, wildcard, path, header")
        run = self.host.tenantry
        acme = ("--namespace", "production", "--script", "acme")
        globex = ("--namespace", "production", "--script", "globex")
        run("routes", "add", "*.shops.localhost", *acme)
        run("routes", "add", "*.shops.localhost", "--path", "/fr", *globex)
        run("routes", "enable-headers", "beta.localhost")
        run("routes", "add", "beta.localhost", *acme)
        run("routes", "add", "beta.localhost", "--header", "X-Beta=1", *globex)
        self.ask("any.shops.localhost", contains="Hello from C")
        self.ask("any.shops.localhost", "/fr/panier", contains="Bonjour")
        self.ask("beta.localhost", contains="Hello from C")
        self.ask("beta.localhost", headers={"X-Beta": "1"}, contains="Bonjour")
        self.ask("nobody.localhost", expect=404, contains="1108")

    def dispatch(self) -> None:
        title("3. A dispatch worker reads a header and picks the tenant")
        self.host.tenantry(
            *("deploy", wasm("dispatcher"), "--name", "front", "--dispatch", "TENANTS=production"),
            *("--hostname", "front.localhost"),
        )
        self.ask("front.localhost", headers={"X-Tenant": "acme"}, contains="Hello from C")
        self.ask("front.localhost", headers={"X-Tenant": "globex"}, contains="Bonjour")
        self.ask("front.localhost", headers={"X-Tenant": "umbrella"}, expect=404, contains="Worker not found")

    def count(self) -> None:
        title("4. A KV counter goes on counting after the server was restarted")
        self.host.tenantry(
            *(
                "deploy",
                wasm("kv_counter"),
                "--name",
                "counter",
                "--namespace",
                "production",
                "--tenant",
                "acme",
            ),
            *("--kv", "COUNTER=acme-counter", "--hostname", "counter.localhost"),
        )
        before = [self._number(self.ask("counter.localhost")) for _ in range(3)]
        code = self.host.stop()
        print(f"  the host is stopped with SIGTERM (exit code {code}) and started again")
        if code != 0:
            raise DemoFailed(f"the host ended with {code} after SIGTERM:\n{self.host.log_end()}")
        self.host.start()
        after = self._number(self.ask("counter.localhost"))
        if [*before, after] != list(range(before[0], before[0] + 4)):
            raise DemoFailed(f"the counter said {before}, and {after} after the restart")

    @staticmethod
    def _number(answer: Answer) -> int:
        return int("".join(c for c in answer.body if c.isdigit()) or -1)

    def queue(self) -> None:
        title("5. One worker sends a message, another gets it")
        run = self.host.tenantry
        ns = ("--namespace", "production")
        run(
            *("deploy", wasm("queue_producer"), "--name", "orders", *ns, "--tenant", "acme"),
            *("--queue", "QUEUE=orders", "--hostname", "orders.localhost"),
        )
        run(
            *("deploy", wasm("queue_consumer"), "--name", "billing", *ns, "--tenant", "acme"),
            *("--kv", "SEEN=acme-seen", "--hostname", "billing.localhost"),
        )
        run("queues", "consumer", "add", "orders", *ns, "--script", "billing", "--max-wait-ms", "100")
        self.ask("orders.localhost", method="POST", body=b"one pair of shoes", expect=202)
        deadline = time.monotonic() + 20
        while self.host.request("billing.localhost", "/latest").status != 200:
            if time.monotonic() > deadline:
                raise DemoFailed(f"the message was not delivered within 20 s:\n{self.host.log_end()}")
            time.sleep(0.1)
        self.ask("billing.localhost", "/latest", contains="one pair of shoes")
        logs = run("logs", "production", "billing")
        print("  " + "\n  ".join(logs.strip().splitlines()[-2:]))
        if "one pair of shoes" not in logs:
            raise DemoFailed(f"the consumer's log line is missing: {logs!r}")

    def fetch(self, folder: Path) -> None:
        title("6. The way out: one call allowed, the others denied with the reason")
        policy = folder / "policy.yaml"
        policy.write_text(
            "version: 1\nmode: enforce\nrules:\n"
            "  - name: the-api\n    action: allow\n    scheme: http\n    host: api.demo.example\n"
            f"    port: {self.api_port}\n    method: GET\n    open_cidrs: [127.0.0.1/32]\n"
            "  - name: careless\n    action: allow\n    host: metadata.demo.example\n"
        )
        self.host.tenantry("policy", "set", "production", str(policy))
        self.host.tenantry(
            *(
                "deploy",
                wasm("fetch_proxy"),
                "--name",
                "proxy",
                "--namespace",
                "production",
                "--tenant",
                "globex",
            ),
            *("--hostname", "proxy.localhost"),
        )
        self.ask(
            "proxy.localhost", f"/?url=http://api.demo.example:{self.api_port}/v1", contains="the upstream"
        )
        self.ask("proxy.localhost", "/?url=https://evil.example/", expect=403, contains="policy")
        # A rule allows the name, but it resolves to the metadata service of a cloud: no address is trusted.
        self.ask(
            "proxy.localhost",
            "/?url=http://metadata.demo.example/latest",
            expect=403,
            contains="address.metadata_service",
        )
        self.ask(
            "proxy.localhost", f"/?url=http://127.0.0.1:{self.api_port}/v1", expect=403, contains="policy"
        )

    def spin(self) -> None:
        title("7. A worker that spins for ever is ended at its CPU limit; its neighbour keeps answering")
        self.host.tenantry(
            *(
                "deploy",
                wasm("hostile"),
                "--name",
                "spinner",
                "--namespace",
                "production",
                "--tenant",
                "globex",
            ),
            *("--limit", "cpu_ms=500", "--hostname", "spinner.localhost"),
        )
        spun: list[Answer] = []
        spinning = threading.Thread(
            target=lambda: spun.append(self.host.request("spinner.localhost", "/spin"))
        )
        spinning.start()
        answered, slowest = 0, 0.0
        while spinning.is_alive():
            started = time.monotonic()
            if self.host.request("acme.localhost").status != 200:
                raise DemoFailed("the neighbour was not answered")
            slowest = max(slowest, time.monotonic() - started)
            answered += 1
        spinning.join()
        print(f"  meanwhile acme.localhost answered {answered} times, the slowest in {slowest * 1000:.1f} ms")
        if not spun or spun[0].status != 503 or "1102" not in spun[0].body or answered < 5:
            raise DemoFailed(f"the spinner got {spun}, its neighbour {answered} answers")
        print(f"  ← {spun[0].status} {' '.join(spun[0].body.split())[:220]}")
        logs = self.host.tenantry("logs", "production", "spinner")
        print("  " + logs.strip().splitlines()[-1])

    def serve_on(self) -> None:
        port = self.host.http_port
        title("The host keeps serving. Try:")
        for line in (
            f"curl -H 'Host: acme.localhost' http://127.0.0.1:{port}/",
            f"curl -H 'Host: front.localhost' -H 'X-Tenant: globex' http://127.0.0.1:{port}/",
            f"curl -H 'Host: counter.localhost' http://127.0.0.1:{port}/",
            f"curl -H 'Host: orders.localhost' -d 'two hats' http://127.0.0.1:{port}/",
            f'curl {self.host.url}/metrics -H "Authorization: Bearer $(cat {self.host.data}/admin-token)"',
            f"TENANTRY_URL={self.host.url} TENANTRY_DATA={self.host.data} .venv/bin/tenantry scripts list production",
        ):
            print(f"  {line}")
        print("\nStop it with Ctrl-C.", flush=True)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            print()


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--exit", action="store_true", help="end when all of it was shown, 0 if all happened")
    exit_at_end: bool = parser.parse_args().exit
    folder = Path(tempfile.mkdtemp(prefix="tenantry-demo-"))
    host = Host(folder / "data", start_dns())
    story = Story(host, start_api())
    try:
        title(f"A fresh host on {folder / 'data'}")
        host.start()
        for step in (story.deploy, story.route, story.dispatch, story.count, story.queue):
            step()
        story.fetch(folder)
        story.spin()
        if not exit_at_end:
            story.serve_on()
        code = host.stop()
        title(f"The host is stopped (exit code {code}). All of it happened.")
        return code
    except DemoFailed as failed:
        print(f"\nThe demo failed: {failed}", file=sys.stderr)
        host.stop()
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
