"""A host whose database is spoken to by TLS, and which no tenant's request reaches: not by its address, not by a name,
not by a redirect, whatever a policy opens.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme

from demo.host import DemoFailed
from demo.upstream import start_dns
from tests.acceptance.platform import Platform, wait_until
from tests.support.postgres import PASSWORD, Cluster, make_cluster

#: What PostgreSQL says of bytes that are no beginning of its protocol.
_HTTP_CAME = "invalid length of startup packet"
#: Paths that the upstream was asked for.
asked_upstream: list[str] = []


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def cluster(authority: trustme.CA) -> Iterator[Cluster]:
    made = make_cluster(log_min_messages="log")
    try:
        made.stop()
        made.serve_tls(authority.issue_cert("localhost"))
        made.start()
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="module")
def upstream(cluster: Cluster) -> Iterator[int]:
    """Its port: it sends whoever asks on to the database."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked_upstream.append(self.path)
            self.send_response(302)
            self.send_header("location", f"http://127.0.0.1:{cluster.port}/")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def settings(folder: Path, cluster: Cluster, authority: trustme.CA) -> tuple[str, ...]:
    """With a new database, of a server that `authority` vouches for."""
    root_cert = folder / "authority.pem"
    authority.cert_pem.write_to_path(root_cert)
    database = cluster.new_database().database
    password = folder / "password"
    password.write_text(PASSWORD + "\n")
    password.chmod(0o600)
    url = f"postgresql://tenantry@localhost:{cluster.port}/{database}?sslmode=verify-full&sslrootcert={root_cert}"
    return ("--database", url, "--database-password-file", str(password))


@pytest.fixture(scope="module")
def host(
    tmp_path_factory: pytest.TempPathFactory, cluster: Cluster, authority: trustme.CA, upstream: int
) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("apart")
    made = Platform(folder, start_dns(), upstream)
    try:
        made.start(*settings(folder, cluster, authority))
        yield made
    finally:
        code = made.stop()
    assert code == 0


def test_all_that_the_host_asks_its_database_goes_by_tls(host: Platform, cluster: Cluster) -> None:
    host.deploy("notes_zig", "notes", "--kv", "NOTES=notes")
    assert host.request("notes.localhost", "/k", method="PUT", body=b"v").status < 300
    wait_until(lambda: host.request("notes.localhost", "/k").body == "v")

    def by_tls() -> list[str]:
        sql = (
            "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
            " WHERE application_name LIKE 'tenantry%'"
        )
        return [row[0] for row in cluster.rows("postgres", sql)]

    wait_until(lambda: len(by_tls()) >= 3)  # control and the workers have connections of their own
    assert set(by_tls()) == {"t"}


def test_a_server_whose_certificate_is_not_to_be_trusted_is_not_asked_for_anything(
    cluster: Cluster, tmp_path: Path
) -> None:
    platform = Platform(tmp_path, start_dns(), 1)
    with pytest.raises(DemoFailed, match="certificate is not one to trust"):
        platform.start(*settings(tmp_path, cluster, trustme.CA()))


def policy(host: Platform, cluster: Cluster, mode: str) -> str:
    """Opens all that a policy can open: loopback, the database's very port, redirects."""
    hosts = ("api.demo.example", "127.0.0.1", "127.1.2.3", "[::1]", "[::ffff:127.0.0.1]")
    rules = [
        {
            "name": f"open-{number}",
            "action": "allow",
            "host": name,
            "port": [cluster.port, host.api_port],
            "open_cidrs": ["127.0.0.0/8", "::1/128"],
            "follow_redirects": 3,
        }
        for number, name in enumerate(hosts)
    ]
    return json.dumps({"version": 1, "mode": mode, "rules": rules})


@pytest.mark.parametrize("mode", ["enforce", "report", "open"])
def test_no_policy_opens_the_database_to_a_tenants_request(
    host: Platform, cluster: Cluster, mode: str
) -> None:
    name, port = f"asker-{mode}", cluster.port
    host.deploy("fetch_proxy", name, "--tenant", name, namespace=name)
    file = host.data.parent / f"{mode}.json"
    file.write_text(policy(host, cluster, mode))
    host.run("policy", "set", name, str(file))
    before = len(cluster.log)
    asked_upstream.clear()

    def ask(url: str) -> tuple[int, str]:
        answer = host.request(f"{name}.localhost", f"/?url={quote(url, safe='')}")
        return answer.status, answer.body

    for url in (
        f"http://127.0.0.1:{port}/",  # its address
        f"https://127.0.0.1:{port}/",
        f"http://127.1.2.3:{port}/",  # another that leads to it
        f"http://[::1]:{port}/",
        f"http://[::ffff:127.0.0.1]:{port}/",  # IPv4 in IPv6's clothes
        f"http://[::ffff:7f00:1]:{port}/",
        f"http://api.demo.example:{port}/",  # a name
        f"http://api.demo.example:{host.api_port}/",  # a redirect, which the platform follows
    ):
        status, body = ask(url)
        assert (status, "self_connection" in body) == (403, True), (url, status, body)
    assert asked_upstream, "what is beside the database is reached where the policy says so"
    assert _HTTP_CAME not in cluster.log[before:]
    # It would have told.
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        while sock.recv(4096):
            pass
    wait_until(lambda: _HTTP_CAME in cluster.log[before:])
