"""Rule held: what the operator says of egress holds in every worker process from the next request on, can be taken
back, and can be proven afterwards.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

from processes.confinement import offered
from tests.acceptance.platform import Platform, wait_until
from tests.support.waiting import files_below

OFFER = offered()

#: Enough that each worker process gets some: each request has a connection of its own.
_REQUESTS = 12


def policy(port: int, **rule: Any) -> str:
    named = {
        "name": "api",
        "action": "allow",
        "host": "api.demo.example",
        "port": port,
        "open_cidrs": ["127.0.0.1/32"],
    }
    whole = {name: value for name, value in {**named, **rule}.items() if value is not None}
    return json.dumps({"version": 1, "rules": [whole]})


@dataclass
class SecureApi:
    """An origin that wants a client certificate, and keeps what it was sent."""

    port: int
    roots: bytes
    client: trustme.LeafCert
    #: Header names in lower case.
    asked: list[dict[str, str]] = field(default_factory=list)


@pytest.fixture
def secure_api() -> Iterator[SecureApi]:
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("api.demo.example").configure_cert(context)
    ca.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    asked: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(200)
            self.send_header("content-length", "3")
            self.end_headers()
            self.wfile.write(b"in\n")

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield SecureApi(server.server_port, ca.cert_pem.bytes(), ca.issue_cert("tenantry.example"), asked)
    server.shutdown()
    thread.join()
    server.server_close()


def statuses(platform: Platform, name: str, url: str) -> set[int]:
    return {platform.request(f"{name}.localhost", f"/?url={url}").status for _ in range(_REQUESTS)}


def put(platform: Platform, text: str, *arguments: str) -> int:
    """The version that was made."""
    file = platform.data.parent / "egress-policy.json"
    file.write_text(text)
    made = json.loads(platform.run("policy", "set", "out", str(file), *arguments, "--json"))
    return int(made["version"])


def test_a_policy_of_three_layers_changes_at_once_and_comes_back(platform: Platform) -> None:
    for name, tag in (("acme", "plan:pro"), ("globex", "plan:free")):
        platform.deploy("fetch_proxy", name, "--tenant", name, "--tag", tag, namespace="out")
    url = f"http://api.demo.example:{platform.api_port}/x"
    assert statuses(platform, "acme", url) == {403}
    first = put(platform, policy(platform.api_port))
    assert statuses(platform, "acme", url) == {200}
    # A tenant's own narrows it, and nobody else's.
    put(platform, policy(platform.api_port, path="/only/*"), "--tenant", "acme")
    assert statuses(platform, "acme", url) == {403}
    assert statuses(platform, "acme", f"http://api.demo.example:{platform.api_port}/only/x") == {200}
    assert statuses(platform, "globex", url) == {200}
    # A tag's does so for all that have it.
    put(platform, policy(platform.api_port, action="deny", open_cidrs=None), "--tag", "plan:free")
    assert statuses(platform, "globex", url) == {403}
    platform.run("policy", "delete", "out", "--tag", "plan:free")
    # One that widens lets its tenant out although the namespace's says no.
    second = put(platform, policy(platform.api_port, action="deny", open_cidrs=None))
    assert statuses(platform, "globex", url) == {403}
    put(platform, policy(platform.api_port), "--tenant", "globex", "--widen")
    assert statuses(platform, "globex", url) == {200}
    assert statuses(platform, "acme", url) == {403}
    # What was before can come back, and who did what is known.
    platform.run("policy", "delete", "out", "--tenant", "acme", "--message", "as agreed")
    platform.run("policy", "rollback", "out", str(first), "--if-version", str(second))
    assert statuses(platform, "acme", url) == {200}
    listed = json.loads(platform.run("policy", "versions", "out", "--json"))
    assert [each["version"] for each in listed][1:] == [second, first]
    assert {each["author"]["name"] for each in listed} == {"admin"}


def test_an_expression_decides_in_every_confined_process(platform: Platform) -> None:
    """The grammar is read from disk at the first expression, when a process may open few files any more."""
    for name, tag in (("spoken", "plan:pro"), ("unspoken", "plan:free")):
        platform.deploy("fetch_proxy", name, "--tenant", name, "--tag", tag, namespace="spoken")
    when = 'tenant.plan in {"pro" "team"} and http.request.uri.path matches "^/v[0-9]+/"'
    file = platform.data.parent / "expression.json"
    file.write_text(policy(platform.api_port, when=when))
    platform.run("policy", "set", "spoken", str(file))
    url = f"http://api.demo.example:{platform.api_port}"

    def ran_everywhere() -> bool:
        """Who takes a connection is the kernel's choice: asked until each process was."""
        assert statuses(platform, "spoken", f"{url}/v1/x") == {200}
        assert statuses(platform, "spoken", f"{url}/x") == {403}
        assert statuses(platform, "unspoken", f"{url}/v1/x") == {403}
        lines = [line for line in platform.log().splitlines() if '"process"' in line]
        asked = [line for line in lines if '"script":"spoken"' in line]
        return {json.loads(line)["process"] for line in asked} == processes

    processes = {f"worker-{index}" for index in range(platform.worker_count)}
    wait_until(ran_everywhere)
    if OFFER.filters and OFFER.landlock_abi:
        held = [line for line in platform.log().splitlines() if "confinement of this worker process" in line]
        assert len(held) >= platform.worker_count
        assert all("landlock" in line and "seccomp" in line and "without" not in line for line in held)


def test_materials_reach_the_origin_and_nobody_else(
    platform: Platform, secure_api: SecureApi, tmp_path: Path
) -> None:
    platform.deploy("fetch_proxy", "secured", "--tenant", "secured", namespace="materials")
    url = f"https://api.demo.example:{secure_api.port}/"
    text = policy(
        secure_api.port,
        scheme="https",
        secrets=[{"header": "authorization", "secret": "token", "template": "Bearer {secret}"}],
        tls={"ca_bundle": "roots", "client_certificate": "mtls"},
    )
    file = tmp_path / "policy.json"
    file.write_text(text)
    warned = platform.run("policy", "set", "materials", str(file))
    assert warned.count("warning:") == 3
    # Named, and not there: nothing leaves.
    assert 200 not in statuses(platform, "secured", url)
    assert secure_api.asked == []

    for name, content in (
        ("roots", secure_api.roots),
        ("cert", b"".join(blob.bytes() for blob in secure_api.client.cert_chain_pems)),
        ("key", secure_api.client.private_key_pem.bytes()),
    ):
        (tmp_path / name).write_bytes(content)
    platform.run("material", "put", "materials", "roots", "--ca-bundle", str(tmp_path / "roots"))
    pair = ("--certificate", str(tmp_path / "cert"), "--key", str(tmp_path / "key"))
    platform.run("material", "put", "materials", "mtls", *pair)
    platform.run("material", "put", "materials", "token", stdin="first-s3cr3t\n")
    assert statuses(platform, "secured", url) == {200}
    assert {each["authorization"] for each in secure_api.asked} == {"Bearer first-s3cr3t"}

    # A new value is used at once, by every process.
    secure_api.asked.clear()
    platform.run("material", "put", "materials", "token", stdin="second-s3cr3t\n")
    assert statuses(platform, "secured", url) == {200}
    assert {each["authorization"] for each in secure_api.asked} == {"Bearer second-s3cr3t"}
    assert "used by" in platform.run("material", "delete", "materials", "token", expect=1)

    key = secure_api.client.private_key_pem.bytes()
    for path, kept in files_below(platform.data):
        assert b"-s3cr3t" not in kept, path
        assert key.splitlines()[1] not in kept, path
    assert "-s3cr3t" not in platform.log()


def test_what_left_and_what_did_not_can_be_asked_for(platform: Platform) -> None:
    platform.deploy("fetch_proxy", "audited", "--tenant", "audited", "--tag", "plan:pro", namespace="audit")
    (platform.data.parent / "audit.json").write_text(policy(platform.api_port))
    platform.run("policy", "set", "audit", str(platform.data.parent / "audit.json"))
    allowed = f"http://api.demo.example:{platform.api_port}/x?key=not-for-the-audit"
    assert statuses(platform, "audited", allowed) == {200}
    assert statuses(platform, "audited", "http://metadata.demo.example/latest") == {403}

    def found(*arguments: str) -> list[dict[str, Any]]:
        lines = platform.run("audit", "audit", "--json", *arguments).splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    wait_until(lambda: len(found("--limit", "100")) == 2 * _REQUESTS)
    left = found("--result", "allow")
    assert len(left) == _REQUESTS
    for each in left:
        assert (each["tenant"], each["script"], each["namespace"]) == ("audited", "audited", "audit")
        assert (each["rule"], each["layer"], each["reason"]) == ("api", "namespace", "policy.rule_allow")
        assert (each["host"], each["path"], each["address"]) == ("api.demo.example", "/x", "127.0.0.1")
        assert (each["status"], each["tags"]) == (200, ["plan:pro"])
        assert each["bytes_down"] > 0
    denied = found("--host", "metadata.demo.example", "--since", "1h")
    assert {each["reason"] for each in denied} == {"policy.default_deny"}
    (one,) = found("--ray", left[0]["ray_id"])
    assert one == left[0]
    assert found("--tenant", "nobody") == []
    assert "not-for-the-audit" not in platform.run("audit", "audit", "--json")
    assert platform.metrics()["tenantry_audit_records_dropped_total"] == 0


def test_the_audit_outlives_a_stop(own_platform: Platform) -> None:
    own_platform.deploy("fetch_proxy", "last", namespace="audit")
    assert own_platform.request("last.localhost", "/?url=http://api.demo.example/").status == 403
    assert own_platform.stop() == 0
    own_platform.start()
    assert '"host": "api.demo.example"' in own_platform.run("audit", "--json")
