"""The workers in docs/examples do on a real host what they say: Cloudflare's documented examples in our own words,
deployed as `tenantry deploy` sends them, with a real origin behind the egress gateway.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest

from bindings.memory import MemoryKvNamespace
from cli.client import ApiClient, Part, encode_multipart
from cli.deployment import Deployment, upload_metadata
from cli.javascript_sources import read_sources
from demo.host import Answer
from javascript.engine.toolchain import ROOT
from model.capabilities import Binding, WorkerEnv
from model.identity import DEFAULT_ACCOUNT
from model.scripts import BindingKind
from tests.acceptance.platform import Platform, wait_until
from tests.docs.pages import read
from tests.javascript.harness import tenant
from tests.support.esbuild import install_esbuild
from tests.support.javascript_engine import built_engine

built_engine()

EXAMPLES: Final = ROOT / "docs" / "examples"
NAMESPACE: Final = "examples"
HOST: Final = "api.demo.example"
LINES: Final = 5_000


class Origin(BaseHTTPRequestHandler):
    """What stands behind the workers: it tells what it was asked."""

    protocol_version = "HTTP/1.1"
    logged: Final[list[str]] = []
    times = 0

    def do_GET(self) -> None:
        given = self.rfile.read(int(self.headers.get("content-length") or 0))
        path = self.path.partition("?")[0]
        kind, headers, status = "application/json", {}, 200
        if path == "/headers":
            headers = {"x-internal": "secret", "x-powered-by": "the origin", "x-kept": "yes"}
            body = b"{}"
        elif path.startswith(("/control", "/test")):
            kind, body = "text/plain", path.encode()
        elif path.endswith(".html"):
            headers = {"x-powered-by": "the origin"}
            kind, body = "text/html;charset=UTF-8", b"<h1>a page</h1>"
        elif path == "/time":
            type(self).times += 1
            body = json.dumps({"n": self.times, "of": given.decode()}).encode()
        elif path == "/lines":
            kind, body = "application/x-ndjson", "".join(f'{{"id": {n}}}\n' for n in range(LINES)).encode()
        elif path == "/echo":
            seen = {name.lower(): value for name, value in self.headers.items()}
            body = json.dumps({"method": self.command, "headers": seen, "body": given.decode()}).encode()
        elif path.startswith("/status/"):
            status, body = int(path.removeprefix("/status/")), b"{}"
        elif path == "/log":
            self.logged.append(given.decode())
            body = b"{}"
        elif path.endswith(".png"):
            kind, body = "image/png", b"\x89PNG"
        elif path == "/leak":
            kind, body = "text/plain", b"write to somebody@example.com"
        else:
            body = json.dumps({"path": self.path, "origin": self.headers.get("origin")}).encode()
        self.send_response(status)
        for name, value in {"content-type": kind, "content-length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


class Site:
    """The namespace of the examples: each is deployed when it is first asked for."""

    def __init__(self, platform: Platform, origin: str, project: Path) -> None:
        self._platform = platform
        self._api = ApiClient(platform.url, platform.token, DEFAULT_ACCOUNT)
        self._origin = origin
        self._project = project
        self._deployed: set[str] = set()

    def deploy(
        self,
        file: str,
        *,
        variables: Mapping[str, str] | None = None,
        secrets: Mapping[str, str] | None = None,
        kv: str = "",
        d1: str = "",
        queue: str = "",
        cache: str = "",
        services: Mapping[str, str] | None = None,
    ) -> None:
        name = Path(file).stem
        if name in self._deployed:
            return
        path = EXAMPLES / file
        if path.suffix == ".ts":
            path = self._project / file
            path.write_text((EXAMPLES / file).read_text())
        sources = read_sources(path)
        storage = ("storage", "kv", "namespaces"), ("d1", "database")
        owner = {"tenant": NAMESPACE, "namespace": NAMESPACE}
        ids = {kv: self._make(storage[0], {"title": kv, **owner})["id"]} if kv else {}
        databases = {d1: self._make(storage[1], {"name": d1, **owner})["uuid"]} if d1 else {}
        if queue:
            self._make(("queues",), {"queue_name": queue, **owner})
        deployment = Deployment(
            name,
            NAMESPACE,
            NAMESPACE,
            variables=[("ORIGIN", self._origin), *(variables or {}).items()],
            secrets=secrets or {},
            kv=[(kv.upper(), kv)] if kv else [],
            d1=[("DB", d1)] if d1 else [],
            queues=[("QUEUE", queue)] if queue else [],
            caches=[("CACHE", cache)] if cache else [],
            services=list((services or {}).items()),
        )
        metadata = json.dumps(upload_metadata(deployment, ids, databases, sources.main)).encode()
        parts = [Part(each.name, each.data, each.content_type, each.name) for each in sources.files]
        content_type, body = encode_multipart([Part("metadata", metadata, "application/json"), *parts])
        self._api.upload(self._api.script(NAMESPACE, name), body, content_type, lambda _: None)
        target = {"namespace": NAMESPACE, "script": name}
        self._make(("workers", "dispatch", "routes"), {"hostname": f"{name}.localhost", "target": target})
        self._deployed.add(name)

    def _make(self, pieces: tuple[str, ...], value: object) -> Any:
        return self._api.post(self._api.path(*pieces), value)

    def consume(self, queue: str, script: str) -> None:
        (found,) = (each for each in self._api.pages(self._api.path("queues")) if each["queue_name"] == queue)
        consumer = {"type": "worker", "script_name": script, "dispatch_namespace": NAMESPACE}
        self._make(
            ("queues", found["queue_id"], "consumers"), {**consumer, "settings": {"max_wait_time_ms": 0}}
        )

    def ask(
        self, name: str, path: str = "/", method: str = "GET", body: bytes | str | None = None, **headers: str
    ) -> Answer:
        """Names of headers with `_` for `-`."""
        data = body.encode() if isinstance(body, str) else body
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        return self._platform.request(f"{name}.localhost", path, method=method, body=data, headers=named)

    def logs(self, name: str) -> str:
        return self._platform.run("logs", NAMESPACE, name)


@pytest.fixture(scope="module")
def site(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Origin)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    project = tmp_path_factory.mktemp("project")
    install_esbuild(project)
    rule = {
        "name": "origin",
        "action": "allow",
        "host": HOST,
        "port": server.server_port,
        "open_cidrs": ["127.0.0.1/32"],
    }
    (project / "policy.json").write_text(json.dumps({"version": 1, "rules": [rule]}))
    platform.run("namespaces", "create", NAMESPACE)
    platform.run("policy", "set", NAMESPACE, str(project / "policy.json"))
    yield Site(platform, f"http://{HOST}:{server.server_port}", project)
    server.shutdown()
    thread.join()
    server.server_close()


def test_return_html(site: Site) -> None:
    site.deploy("return-html.js")
    answer = site.ask("return-html")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html;charset=UTF-8")
    assert "<h1>Hello, world</h1>" in answer.body


def test_return_json(site: Site) -> None:
    site.deploy("return-json.js")
    answer = site.ask("return-json", "/a?b=1&c=%20")
    assert answer.headers["content-type"] == "application/json"
    assert json.loads(answer.body) == {"path": "/a", "query": {"b": "1", "c": " "}}


def test_redirect(site: Site) -> None:
    site.deploy("redirect.js")
    answer = site.ask("redirect", "/a/b?c=d")
    assert (answer.status, answer.headers["location"]) == (301, "https://new.example.com/a/b?c=d")


def test_bulk_redirects(site: Site) -> None:
    site.deploy("bulk-redirects.js")
    answer = site.ask("bulk-redirects", "/old")
    assert (answer.status, answer.headers["location"]) == (302, "https://new.example.com/here")
    assert site.ask("bulk-redirects", "/docs/").headers["location"] == "https://docs.example.com/?from=old"
    assert site.ask("bulk-redirects", "/other").body == "not moved\n"


def test_basic_auth(site: Site) -> None:
    site.deploy("basic-auth.js", secrets={"PASSWORD": "pässword:1"})
    assert site.ask("basic-auth").status == 200
    asked = site.ask("basic-auth", "/admin")
    assert (asked.status, asked.headers["www-authenticate"]) == (401, 'Basic realm="admin", charset="UTF-8"')

    def given(credentials: str) -> Answer:
        encoded = base64.b64encode(credentials.encode()).decode()
        return site.ask("basic-auth", "/admin", authorization=f"Basic {encoded}")

    assert given("admin:wrong").status == 401
    assert given("other:pässword:1").status == 401
    right = given("admin:pässword:1")
    assert (right.status, right.body, right.headers["cache-control"]) == (
        200,
        "You may see this.\n",
        "no-store",
    )


def test_header_auth(site: Site) -> None:
    site.deploy("header-auth.js", secrets={"KEY": "agreed"})
    assert site.ask("header-auth", "/a").status == 403
    assert site.ask("header-auth", "/a", x_custom_psk="other").status == 403
    answer = site.ask("header-auth", "/a", x_custom_psk="agreed")
    assert (answer.status, json.loads(answer.body)["path"]) == (200, "/a")


def test_sign_requests(site: Site) -> None:
    site.deploy("sign-requests.js", secrets={"SIGNING_KEY": "a signing key"})
    made = site.ask("sign-requests", "/generate/page").body
    assert made.startswith("/page?verify=")
    assert site.ask("sign-requests", made).body == "The secret page /page\n"
    assert site.ask("sign-requests", made.replace("/page", "/other")).body == "Invalid MAC\n"
    assert site.ask("sign-requests", "/page").body == "Missing query parameter\n"
    mac = hmac.digest(b"a signing key", b"/page@1", "sha256")
    late = f"/page?verify=1-{base64.urlsafe_b64encode(mac).decode()}"
    assert site.ask("sign-requests", late).body == "URL expired\n"
    later = re.sub(r"verify=\d", "verify=9", made)
    assert site.ask("sign-requests", later).body == "Invalid MAC\n"


def test_ab_testing(site: Site) -> None:
    site.deploy("ab-testing.js")
    cookie = "myExampleWorkersABTest"
    for group in ("control", "test"):
        answer = site.ask("ab-testing", "/a", cookie=f"x=1; {cookie}={group}")
        assert (answer.body, "set-cookie" in answer.headers) == (f"/{group}/a", False)
    new = [site.ask("ab-testing", "/a") for _ in range(24)]
    assert {answer.body for answer in new} == {"/control/a", "/test/a"}
    for answer in new:
        assert answer.headers["set-cookie"] == f"{cookie}={answer.body.split('/')[1]}; path=/"
    assert site.ask("ab-testing", "/test/b").body == "/test/b"


def test_aggregate_requests(site: Site) -> None:
    site.deploy("aggregate-requests.js")
    assert json.loads(site.ask("aggregate-requests").body) == {"todo": "/todos/1", "user": "/users/1"}


def test_alter_headers(site: Site) -> None:
    site.deploy("alter-headers.js")
    headers = site.ask("alter-headers").headers
    assert headers["x-workers-hello"] == "Hello from a worker"
    assert (headers["x-powered-by"], headers["x-kept"]) == ("something else", "yes")
    assert "x-internal" not in headers


def test_security_headers(site: Site) -> None:
    site.deploy("security-headers.js")
    page = site.ask("security-headers", "/page.html").headers
    assert (page["x-frame-options"], page["strict-transport-security"]) == ("DENY", "max-age=1000")
    assert "x-powered-by" not in page
    assert "x-frame-options" not in site.ask("security-headers", "/a").headers


def test_cors_header_proxy(site: Site) -> None:
    site.deploy("cors-header-proxy.js")
    answer = site.ask("cors-header-proxy", "/corsproxy/", origin="http://page.example")
    assert answer.headers["access-control-allow-origin"] == "http://cors-header-proxy.localhost"
    assert answer.headers["vary"] == "Origin"
    assert json.loads(answer.body)["origin"].startswith(f"http://{HOST}:")
    asked = {"origin": "http://page.example", "access_control_request_method": "POST"}
    preflight = site.ask(
        "cors-header-proxy", "/corsproxy/", "OPTIONS", access_control_request_headers="x-a", **asked
    )
    assert preflight.headers["access-control-allow-methods"] == "GET,HEAD,POST,OPTIONS"
    assert preflight.headers["access-control-allow-headers"] == "x-a"
    assert (
        site.ask("cors-header-proxy", "/corsproxy/", "OPTIONS").headers["allow"] == "GET, HEAD, POST, OPTIONS"
    )
    assert site.ask("cors-header-proxy", "/corsproxy/", "DELETE").status == 405


def kept_answer(ask: Callable[[], Answer]) -> Answer:
    """What the cache has: the origin never says the same twice. An answer is kept after it was given, so several may
    be the origin's, and each of them may be the one that is kept.
    """
    answers = [ask()]

    def again() -> bool:
        answers.append(ask())
        return answers[-1].body == answers[-2].body

    wait_until(again)
    return answers[-1]


def test_cache_api(site: Site) -> None:
    site.deploy("cache-api.js", cache="pages")
    kept = kept_answer(lambda: site.ask("cache-api", "/?a"))
    assert "s-maxage=10" in kept.headers["cache-control"]
    assert site.ask("cache-api", "/?b").body != kept.body


def test_cache_post(site: Site) -> None:
    site.deploy("cache-post.js", cache="posts")
    kept = kept_answer(lambda: site.ask("cache-post", "/", "POST", "a question"))
    assert json.loads(kept.body)["of"] == "a question"
    assert site.ask("cache-post", "/", "POST", "another").body != kept.body
    assert site.ask("cache-post").status == 405


def test_conditional_response(site: Site) -> None:
    site.deploy("conditional-response.js", variables={"BLOCKED_IP": "198.51.100.7"})
    name = "conditional-response"
    assert site.ask(name).body == "Everybody else"
    assert site.ask(name, "/a.xml").body == "Blocked Extension"
    assert site.ask(name, method="POST").body == "Response for POST"
    assert site.ask(name, user_agent="a bot/1.0").status == 403
    assert site.ask(name, x_forwarded_for="198.51.100.7").body == "Block the IP"
    assert site.ask(name, x_forwarded_for="198.51.100.8").body == "Everybody else"


def test_cookie_parsing(site: Site) -> None:
    site.deploy("cookie-parsing.js")
    assert site.ask("cookie-parsing", cookie="a=1; __uid=some%20body; flag").body == "some body"
    assert site.ask("cookie-parsing", cookie="a__uid=1").body == "No cookie with name: __uid"


def test_country(site: Site) -> None:
    site.deploy("country.js")
    assert site.ask("country").body == "nobody says where you are\n"


def test_fetch_html(site: Site) -> None:
    site.deploy("fetch-html.js")
    answer = site.ask("fetch-html")
    assert (answer.body, answer.headers["content-type"]) == ("<h1>a page</h1>", "text/html;charset=UTF-8")


def test_fetch_json(site: Site) -> None:
    site.deploy("fetch-json.js")
    assert json.loads(site.ask("fetch-json", "/a").body)["json"]["path"] == "/a"
    assert json.loads(site.ask("fetch-json", "/test").body) == {"text": "/test"}


def test_modify_request(site: Site) -> None:
    site.deploy("modify-request.js")
    seen = json.loads(site.ask("modify-request", user_agent="mine").body)
    assert (seen["method"], json.loads(seen["body"])) == ("POST", {"bar": "foo"})
    headers = seen["headers"]
    assert (headers["user-agent"], headers["x-example"]) == ("my worker", "bar")
    assert headers["content-type"] == "application/json"


def test_modify_response(site: Site) -> None:
    site.deploy("modify-response.js")
    answer = site.ask("modify-response")
    assert (answer.status, answer.headers["foo"]) == (203, "bar")
    told = json.loads(answer.body)
    assert (told["path"], told["foo"]) == ("/todos/1", "bar")


async def test_cron_triggers() -> None:
    kept = MemoryKvNamespace()
    env = WorkerEnv(bindings={"DONE": Binding(BindingKind.KV_NAMESPACE, kept)})
    worker = tenant((EXAMPLES / "cron-triggers.js").read_text(), env=env)
    for cron, told in (
        ("*/3 * * * *", "every three minutes"),
        ("45 * * * *", "once an hour"),
        ("1 1 1 1 *", "another"),
    ):
        done = await worker.background("scheduled", {"cron": cron, "scheduled_time_ms": 60_000})
        assert done.error is None
        assert (await worker.get()).text == f"{told} at 60000"


def test_post_json(site: Site) -> None:
    site.deploy("post-json.js")
    answer = site.ask("post-json")
    seen = json.loads(answer.body)
    assert answer.headers["content-type"] == "application/json;charset=UTF-8"
    assert (seen["method"], json.loads(seen["body"])["msg"]) == ("POST", "I sent this to the fetch")


def test_another_site(site: Site) -> None:
    site.deploy("another-site.js")
    assert site.ask("another-site").body == "<h1>a page</h1>"
    refused = site.ask("another-site", method="POST", body="x")
    assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD")


def test_stream_json(site: Site) -> None:
    site.deploy("stream-json.js")
    answer = site.ask("stream-json")
    assert answer.headers["content-type"] == "application/x-ndjson"
    told = [json.loads(line) for line in answer.body.splitlines()]
    assert told == [{"id": n, "double": 2 * n} for n in range(LINES)]


def test_streaming(site: Site) -> None:
    site.deploy("streaming.js")
    answer = site.ask("streaming")
    assert (answer.body, "content-length" in answer.headers) == ("200 /a\n200 /b\n200 /c\n", False)


def test_read_post(site: Site) -> None:
    site.deploy("read-post.js")

    def told(body: str, content_type: str) -> Any:
        return json.loads(site.ask("read-post", "/", "POST", body, content_type=content_type).body)

    assert told('{"a":[1]}', "application/json") == {"json": {"a": [1]}}
    assert told("text é", "text/plain") == {"text": "text é"}
    assert told("a=1+2&b=%C3%A9", "application/x-www-form-urlencoded") == {"form": {"a": "1 2", "b": "é"}}
    file = 'Content-Disposition: form-data; name="f"; filename="a.txt"\r\nContent-Type: text/plain\r\n\r\nof a file'
    field = 'Content-Disposition: form-data; name="a"\r\n\r\n1'
    form = f"--B\r\n{field}\r\n--B\r\n{file}\r\n--B--\r\n"
    assert told(form, "multipart/form-data; boundary=B") == {"form": {"a": "1", "f": "a.txt: of a file"}}
    assert told("12345", "application/octet-stream") == {"bytes": 5}


def test_logging_headers(site: Site) -> None:
    site.deploy("logging-headers.js")
    assert json.loads(site.ask("logging-headers", x_of_mine="here").body)["x-of-mine"] == "here"
    wait_until(lambda: "all told" in site.logs("logging-headers"))
    logs = site.logs("logging-headers")
    assert "x-of-mine is here" in logs
    assert "Map(" in logs


def test_debugging_logs(site: Site) -> None:
    site.deploy("debugging-logs.js")
    answer = site.ask("debugging-logs")
    assert (answer.status, answer.body) == (500, '"The origin says 503"')
    assert answer.headers["x-debug-stack"] == "Error: The origin says 503"
    wait_until(lambda: any("debugging-logs.js:6" in each for each in Origin.logged))


def test_kv(site: Site) -> None:
    site.deploy("kv.js", kv="notes")
    assert site.ask("kv", "/a%20b", "PUT", "a note", user_agent="me").status == 201
    answer = site.ask("kv", "/a%20b")
    assert (answer.body, answer.headers["x-by"]) == ("a note", "me")
    assert json.loads(site.ask("kv").body) == [["a b", {"by": "me"}]]
    assert site.ask("kv", "/a%20b", "DELETE").status == 204
    assert site.ask("kv", "/a%20b").status == 404


def test_d1(site: Site) -> None:
    site.deploy("d1.js", d1="customers")
    assert json.loads(site.ask("d1", "/setup").body) == [True] * 6
    rows = json.loads(site.ask("d1", "/api/beverages").body)
    assert rows == [
        {"id": 11, "company": "Bs Beverages", "contact": "Victoria Ashworth"},
        {"id": 13, "company": "Bs Beverages", "contact": "Random Name"},
    ]
    assert json.loads(site.ask("d1", "/api/beverages?company='%20OR%201=1").body) == []


def test_queue(site: Site) -> None:
    site.deploy("queue.js", queue="requests", kv="kept")
    site.consume("requests", "queue")
    for number in range(3):
        assert site.ask("queue", "/x", "POST", f"number {number}").status == 202
    wanted = [f"requests number {number}" for number in range(3)]
    wait_until(lambda: json.loads(site.ask("queue").body) == wanted)


def test_body_inspection(site: Site) -> None:
    site.deploy("body-inspection.js")
    assert json.loads(site.ask("body-inspection", "/a").body)["path"] == "/a"
    refused = site.ask("body-inspection", "/leak")
    assert (refused.status, refused.body) == (403, "email found\nForbidden\n")
    assert any('"kind":"email"' in each for each in Origin.logged)


def test_service_binding(site: Site) -> None:
    site.deploy("service-auth.js")
    site.deploy("service-binding.js", services={"AUTH": "service-auth"})
    assert site.ask("service-binding").status == 403
    assert site.ask("service-binding", x_user="Jo").body == "Hello, Jo"


def test_websockets_are_refused(site: Site) -> None:
    site.deploy("websockets.js")
    answer = site.ask("websockets")
    assert answer.status == 501
    assert "WebSocket" in answer.body


def test_hotlink_protection(site: Site) -> None:
    site.deploy("hotlink-protection.js")
    name = "hotlink-protection"
    elsewhere = site.ask(name, "/a.png", referer="https://thief.example/")
    assert (elsewhere.status, elsewhere.headers["location"]) == (302, "https://www.example.com/")
    assert site.ask(name, "/a.png", referer="https://www.example.com/page").status == 200
    assert site.ask(name, "/a", referer="https://thief.example/").status == 200


def test_wait_until(site: Site) -> None:
    site.deploy("wait-until.js", kv="counts")
    assert site.ask("wait-until", "/a").body == "thank you\n"
    wait_until(lambda: site.ask("wait-until", "/counts/a").body == "1")


def test_pass_through(site: Site) -> None:
    site.deploy("pass-through.js")
    assert json.loads(site.ask("pass-through").body)["path"] == "/a"
    assert site.ask("pass-through", "/fails").status == 500


def test_typed_routes(site: Site) -> None:
    site.deploy("typed-routes.ts")
    assert site.ask("typed-routes", "/health").body == "fine\n"
    assert site.ask("typed-routes", "/origin").body == "the origin was asked for /origin\n"
    assert site.ask("typed-routes", "/x").status == 404


def test_the_page_lists_each_example() -> None:
    page = read("examples.md")
    for file in EXAMPLES.iterdir():
        first = file.read_text().splitlines()[0]
        assert f"](examples/{file.name})" in page, file.name
        assert first.startswith("// "), file.name
