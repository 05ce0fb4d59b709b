"""What an operator relies on: restarts, draining, health, metrics, and nothing lost."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections import Counter

from demo.host import ROOT
from tests.acceptance.platform import Platform, peak_bytes, read_head, read_response, reset_peak, wait_until
from tests.support.crash_engines import descendants, is_alive, send_signal

MIB = 1 << 20


def test_admin_token_is_for_its_owner_alone(platform: Platform) -> None:
    mode = stat.S_IMODE((platform.data / "admin-token").stat().st_mode)
    assert mode == 0o600
    assert stat.S_IMODE((platform.data / "root-key").stat().st_mode) == 0o600


def test_one_serve_a_data_folder(platform: Platform) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "serve", "--data", str(platform.data), "--http", "127.0.0.1:0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 1
    assert "serve.lock" in done.stderr


def test_api_refuses_foreign_hosts_origins_and_tokens(platform: Platform) -> None:
    assert platform.api("GET", "/client/v4/user/tokens/verify")[0] == 200
    assert platform.api("GET", "/client/v4/user/tokens/verify", headers={"Host": "evil.example"})[0] in (
        403,
        421,
    )
    assert (
        platform.api("GET", "/client/v4/user/tokens/verify", headers={"Origin": "http://evil.example"})[0]
        == 403
    )
    assert (
        platform.api("GET", "/client/v4/user/tokens/verify", headers={"Authorization": "Bearer no"})[0] == 401
    )


def test_metrics_are_summed_over_processes(platform: Platform) -> None:
    platform.deploy("hello", "counted")
    name = 'tenantry_events_total{outcome="ok",trigger="fetch"}'
    wait_until(lambda: name in platform.metrics())
    before = platform.metrics()[name]
    for _ in range(40):
        assert platform.request("counted.localhost").status == 200
    wait_until(lambda: platform.metrics()[name] >= before + 40)


def test_an_access_line_tells_of_each_request(platform: Platform) -> None:
    platform.deploy("hello", "logged", "--tenant", "acme")
    ray = platform.request("logged.localhost", "/some/path").headers["x-tenantry-ray"]
    wait_until(lambda: ray in platform.log())
    [line] = [json.loads(line) for line in platform.log().splitlines() if f'"{ray}"' in line]
    assert line["tenant"] == "acme"
    assert line["outcome"] == "ok"
    assert line["path"] == "/some/path"
    assert line["cpu_us"] > 0


def test_worker_process_killed_under_load_is_replaced_and_others_fail_nothing(own_platform: Platform) -> None:
    """Connections to the killed process break; every other one goes on, and new ones are answered."""
    own_platform.deploy("hello", "steady")
    connections = [own_platform.connect() for _ in range(16)]
    question = b"GET / HTTP/1.1\r\nHost: steady.localhost\r\n\r\n"
    broken: set[int] = set()
    answered = 0

    def round_of_requests() -> None:
        nonlocal answered
        for number, sock in enumerate(connections):
            if number in broken:
                continue
            try:
                sock.sendall(question)
                data = sock.recv(65536)
                while data and not data.endswith(b"from C!\n"):
                    data += sock.recv(65536)
            except OSError:
                data = b""
            if not data:
                broken.add(number)
                continue
            assert data.startswith(b"HTTP/1.1 200 "), data
            answered += 1

    for _ in range(5):
        round_of_requests()
    assert not broken
    victim, survivor = own_platform.workers()
    os.kill(victim, signal.SIGKILL)
    for _ in range(30):
        round_of_requests()
    assert 0 < len(broken) < 16
    broken_at_once = set(broken)
    wait_until(lambda: len(own_platform.workers()) == 2 and victim not in own_platform.workers())
    for _ in range(30):
        round_of_requests()
    assert broken == broken_at_once
    assert survivor in own_platform.workers()
    for _ in range(20):
        assert own_platform.request("steady.localhost").status == 200
    wait_until(lambda: own_platform.metrics().get('tenantry_process_restarts_total{kind="worker"}') == 1)
    for sock in connections:
        sock.close()


async def test_twice_the_cap_of_dispatcher_worker_and_service_trees_all_end(own_platform: Platform) -> None:
    """Each of three sandboxes: twice the running events of both processes, at once. None is without an end."""
    own_platform.deploy("hostile", "end", "--tenant", "acme", namespace="trees")
    own_platform.deploy(
        "service_caller", "middle", "--tenant", "acme", "--service", "BACKEND=end", namespace="trees"
    )
    own_platform.deploy("dispatcher", "begin", "--dispatch", "TENANTS=trees", namespace=None)
    question = (
        b"GET /wait?ms=300 HTTP/1.1\r\nHost: begin.localhost\r\nX-Tenant: middle\r\nConnection: close\r\n\r\n"
    )

    async def visit() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", own_platform.http_port)
        try:
            writer.write(question)
            return await reader.read()
        finally:
            writer.close()

    async with asyncio.timeout(100):
        answers = await asyncio.gather(*(visit() for _ in range(2 * 2 * 256)))
    statuses = Counter(answer[9:12] for answer in answers)
    assert set(statuses) <= {b"200", b"503"}, statuses
    assert statuses[b"200"] >= 512
    shed = [answer for answer in answers if answer[9:12] == b"503"]
    assert all(b"retry-after" in answer.lower() and b"1106" in answer for answer in shed)

    def nothing_runs() -> bool:
        figures = own_platform.metrics()
        return figures["tenantry_running_events"] == figures["tenantry_suspended_events"] == 0

    wait_until(nothing_runs)
    assert own_platform.request("end.localhost").status == 200


def test_no_counter_goes_back_when_control_dies(own_platform: Platform) -> None:
    """Nor when a worker process dies as well, while nobody adds up."""
    own_platform.deploy("hello", "counted")
    name = 'tenantry_events_total{outcome="ok",trigger="fetch"}'
    for _ in range(60):
        assert own_platform.request("counted.localhost").status == 200
    wait_until(lambda: own_platform.metrics().get(name, 0) >= 60)
    before = own_platform.metrics()
    workers = own_platform.workers()
    [control] = own_platform.controls()
    os.kill(control, signal.SIGKILL)
    os.kill(workers[0], signal.SIGKILL)
    shown: list[float] = []

    def all_are_back() -> bool:
        try:
            figures = own_platform.metrics()
        except OSError:
            return False  # its port is closed for a moment
        shown.append(figures.get(name, 0))
        return (
            figures.get('tenantry_processes{kind="worker"}') == 2 and workers[0] not in own_platform.workers()
        )

    wait_until(all_are_back)
    assert own_platform.request("counted.localhost").status == 200
    wait_until(lambda: own_platform.metrics()[name] > before[name])
    assert min(shown) >= before[name]
    after = own_platform.metrics()
    totals = [
        key for key in before if key.partition("{")[0].endswith(("_total", "_count", "_sum", "_bucket"))
    ]
    assert not {key: (before[key], after.get(key)) for key in totals if after.get(key, 0) < before[key]}


def test_acknowledged_messages_survive_kill_9_of_every_process(own_platform: Platform) -> None:
    own_platform.deploy("queue_producer", "sender", "--queue", "QUEUE=durable")
    bodies = [f"message {number}" for number in range(50)]
    for body in bodies:
        assert own_platform.request("sender.localhost", method="POST", body=body.encode()).status == 202
    processes = descendants(own_platform.supervisor_pid)
    for pid in [*own_platform.workers(), own_platform.supervisor_pid]:
        os.kill(pid, signal.SIGKILL)
    assert own_platform._process is not None
    own_platform._process.wait(30)
    wait_until(lambda: not any(is_alive(pid) for pid in processes))
    own_platform.start()
    own_platform.deploy("queue_consumer", "taker", "--kv", "SEEN=durable-seen")
    own_platform.run("queues", "consumer", "add", "durable", "--namespace", "tests", "--script", "taker")

    def seen() -> int:
        return len(json.loads(own_platform.run("kv", "list", "durable-seen", "--json")))

    wait_until(lambda: seen() >= len(bodies) + 1, 60)  # one key a message, and `latest`


def test_sigterm_drains_what_runs_and_closes_connections(own_platform: Platform) -> None:
    own_platform.deploy("hostile", "slow")
    idle, busy = own_platform.connect(), own_platform.connect()
    busy.sendall(b"GET /wait?ms=12000 HTTP/1.1\r\nHost: slow.localhost\r\n\r\n")
    wait_until(lambda: own_platform.metrics()["tenantry_suspended_events"] == 1, 12)
    own_platform.signal(signal.SIGTERM)
    assert idle.recv(100) == b""
    status, headers, body = read_response(busy)
    assert (status, body) == (200, b"done\n")
    assert headers["connection"] == "close"
    idle.close()
    busy.close()
    assert own_platform._process is not None
    assert own_platform._process.wait(30) == 0


def test_200_mb_through_a_worker_needs_less_than_64_mib_more(own_platform: Platform) -> None:
    """Up and down, by the guest's loop and passed through; at the default limit the upload is a 413."""
    raised = ("--limit", "request_body_bytes=250000000", "--limit", "cpu_ms=60000")
    own_platform.deploy("upload_sum", "up", *raised)
    own_platform.deploy("big_download", "down", *raised)
    own_platform.deploy("echo", "through", *raised)
    own_platform.deploy("upload_sum", "small")
    size = 200 * 1_000_000
    chunk = b"u" * 1_000_000

    def exchange(host: str, path: str, upload: int) -> tuple[int, int]:
        """Status, and how many bytes of body came back."""
        sock = own_platform.connect()
        length = f"Content-Length: {upload}\r\n" if upload else ""
        method = "POST" if upload else "GET"
        sock.sendall(
            f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{length}Connection: close\r\n\r\n".encode()
        )
        sender = None
        if upload:

            def send() -> None:
                try:
                    for _ in range(upload // len(chunk)):
                        sock.sendall(chunk)
                except OSError:
                    pass  # refused: the answer says why

            sender = threading.Thread(target=send)
            sender.start()
        status, headers, body = read_head(sock)
        received = len(body)
        wanted = int(headers.get("content-length", -1))
        while received != wanted and (more := sock.recv(1 << 20)):
            received += len(more)
        if sender is not None:
            sender.join()
        sock.close()
        assert headers is not None
        return status, received

    assert exchange("small.localhost", "/", 101 * 1_000_000 + 1_000_000 * 10)[0] == 413
    workers = own_platform.workers()
    for host, path, upload, download in (
        ("up.localhost", "/", size, 0),
        ("down.localhost", f"/?bytes={size}", 0, size),
        ("through.localhost", "/?pass", size, size),
        ("through.localhost", "/", size, size),
    ):
        for pid in workers:
            reset_peak(pid)
        before = {pid: peak_bytes(pid) for pid in workers}
        status, received = exchange(host, path, upload)
        assert status == 200, host
        assert received >= download, (host, path)
        for pid in workers:
            assert peak_bytes(pid) - before[pid] < 64 * MIB, (host, path)


def test_visitors_who_leave_leave_nothing_behind(own_platform: Platform) -> None:
    own_platform.deploy("hostile", "left", "--limit", "cpu_ms=20000")
    own_platform.deploy("upload_sum", "uploading")
    own_platform.deploy(
        "big_download", "downloading", "--limit", "cpu_ms=20000", "--limit", "operations=100000"
    )

    def visit_and_leave() -> None:
        for question in (
            b"GET /wait?ms=60000 HTTP/1.1\r\nHost: left.localhost\r\n\r\n",
            b"GET /spin HTTP/1.1\r\nHost: left.localhost\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: uploading.localhost\r\nContent-Length: 1000000\r\n\r\nonly a part",
            b"GET /?bytes=500000000 HTTP/1.1\r\nHost: downloading.localhost\r\n\r\n",
        ):
            sock = own_platform.connect()
            sock.sendall(question)
            time.sleep(0.05)  # to leave in the middle, not before; where that is not enough, again
            sock.close()

    def nothing_runs() -> bool:
        figures = own_platform.metrics()
        return figures.get("tenantry_running_events") == 0 and figures.get("tenantry_suspended_events") == 0

    def ten_left() -> bool:
        visit_and_leave()
        return (
            own_platform.metrics().get('tenantry_events_total{outcome="canceled",trigger="fetch"}', 0) >= 10
        )

    wait_until(ten_left)
    time.sleep(1.1)  # a snapshot's interval
    wait_until(nothing_runs)


def test_a_forged_image_is_not_loaded_and_is_made_again(own_platform: Platform) -> None:
    own_platform.deploy("hello", "mapped")
    [image] = (own_platform.data / "aot").glob("*.cwasm")
    data = bytearray(image.read_bytes())
    data[len(data) // 2] ^= 1
    image.write_bytes(data)
    assert own_platform.request("mapped.localhost").status == 200
    wait_until(lambda: "MAC is wrong" in own_platform.log())


def test_a_module_that_control_was_compiling_when_it_died_is_compiled_by_its_successor(
    own_platform: Platform,
) -> None:
    """Whoever waits for it is answered then, and not at the end of the time that compiling may take."""
    own_platform.deploy("hello", "missing")
    for image in (own_platform.data / "aot").glob("*.cwasm"):
        image.unlink()
    [control] = own_platform.controls()
    answers: list[int] = []
    visitor = threading.Thread(
        target=lambda: answers.append(own_platform.request("missing.localhost").status)
    )
    children: set[int] = set()

    def hold_children() -> None:
        """So that control is in the middle of it for as long as that takes."""
        children.update(descendants(control))
        for child in children:
            send_signal(child, signal.SIGSTOP)

    hold_children()
    visitor.start()
    wait_until(lambda: "compiling module" in own_platform.log(), pause_s=0.001)
    hold_children()
    os.kill(control, signal.SIGKILL)
    visitor.join(60)
    assert answers == [200]
    for child in children:
        send_signal(child, signal.SIGCONT)
    wait_until(lambda: not any(is_alive(child) for child in children))


def test_sighup_replaces_every_worker_process_and_no_visitor_fails(own_platform: Platform) -> None:
    own_platform.deploy("hello", "always")
    before = own_platform.workers()
    own_platform.signal(signal.SIGHUP)
    answered = 0

    def all_are_new() -> bool:
        nonlocal answered
        assert own_platform.request("always.localhost").status == 200
        answered += 1
        now = own_platform.workers()
        return len(now) == 2 and not set(now) & set(before)

    wait_until(all_are_new, 60)
    for _ in range(20):
        assert own_platform.request("always.localhost").status == 200
    # Planned, so neither a death nor a step towards a crash loop.
    assert own_platform.metrics().get('tenantry_process_restarts_total{kind="worker"}') == 0
