"""A tenant developer deploys workers with their bindings, and each does what its README says."""

from __future__ import annotations

import json

from tests.acceptance.platform import SAMPLES, Platform, wait_until
from tests.support.waiting import files_below


def test_variables_and_secrets_reach_the_worker_and_nobody_else(platform: Platform) -> None:
    platform.deploy("hello_zig", "greeter", "--var", "GREETING=Salut")
    assert "Salut" in platform.request("greeter.localhost").body
    wasm = str(SAMPLES / "gatekeeper" / "gatekeeper.wasm")
    deploy = ("deploy", wasm, "--name", "vault", "--namespace", "tests", "--hostname", "vault.localhost")
    platform.run(*deploy, "--secret", "API_KEY", stdin="s3cret-of-vault")
    assert platform.request("vault.localhost", headers={"X-Key": "guess"}).status == 401
    assert platform.request("vault.localhost", headers={"X-Key": "s3cret-of-vault"}).status == 200
    platform.run(*deploy)  # a deploy without it keeps the secret
    assert platform.request("vault.localhost", headers={"X-Key": "s3cret-of-vault"}).status == 200
    for shown in (platform.run("secrets", "list", "tests", "vault"), platform.log()):
        assert "s3cret-of-vault" not in shown
    for file, content in files_below(platform.data):
        assert b"s3cret-of-vault" not in content, file


def test_redeploying_switches_at_once_in_every_process(platform: Platform) -> None:
    platform.deploy("hello", "switch")
    for _ in range(20):
        assert "from C" in platform.request("switch.localhost").body
    platform.deploy("hello_zig", "switch")
    for _ in range(20):
        assert "from Zig" in platform.request("switch.localhost").body


def test_kv_values_are_seen_by_api_command_line_and_worker(platform: Platform) -> None:
    platform.deploy("kv_counter", "tally", "--kv", "COUNTER=tally-kv")
    assert [platform.request("tally.localhost").body.strip() for _ in range(3)] == ["1", "2", "3"]
    listed = json.loads(platform.run("kv", "list", "tally-kv", "--json"))
    assert len(listed) == 1


def test_service_binding_calls_the_worker_of_the_same_namespace(platform: Platform) -> None:
    platform.deploy("hello", "backend", "--tenant", "acme")
    platform.deploy("service_caller", "caller", "--tenant", "acme", "--service", "BACKEND=backend")
    assert "Hello from C" in platform.request("caller.localhost").body


def test_dispatcher_can_only_lower_a_tenants_limits(platform: Platform) -> None:
    platform.deploy("hostile", "greedy", "--limit", "cpu_ms=5000", namespace="lowered")
    platform.deploy(
        "dispatcher", "router", "--dispatch", "TENANTS=lowered", "--var", "CPU_MS=30", namespace=None
    )
    answer = platform.request("router.localhost", "/spin", headers={"X-Tenant": "greedy"})
    assert answer.status == 502
    assert "exceededCpu" in answer.body
    assert "30 ms" in answer.body


def test_a_missing_tenant_is_worker_not_found(platform: Platform) -> None:
    platform.deploy("dispatcher", "router2", "--dispatch", "TENANTS=lowered", namespace=None)
    answer = platform.request("router2.localhost", headers={"X-Tenant": "nobody"})
    assert (answer.status, answer.body) == (404, "Worker not found: nobody\n")


def test_scheduled_runs_by_hand_and_its_run_is_stored(platform: Platform) -> None:
    platform.deploy("scheduled", "nightly", "--kv", "RUNS=nightly-runs")
    platform.run("trigger", "scheduled", "tests", "nightly", "--cron", "0 3 * * *")
    assert json.loads(platform.run("kv", "list", "nightly-runs", "--json"))


def test_queue_retries_and_dead_letters(platform: Platform) -> None:
    platform.deploy("queue_producer", "mailer", "--queue", "QUEUE=mails")
    platform.deploy("queue_consumer", "postman", "--kv", "SEEN=mails-seen")
    platform.run("queues", "create", "returned")
    platform.run(
        *("queues", "consumer", "add", "mails", "--namespace", "tests", "--script", "postman"),
        *("--max-wait-ms", "0", "--max-retries", "1", "--dead-letter-queue", "returned"),
    )
    assert platform.request("mailer.localhost", method="POST", body=b"retry").status == 202
    assert platform.request("mailer.localhost", method="POST", body=b"a letter").status == 202
    wait_until(lambda: "a letter" in platform.request("postman.localhost", "/latest").body)
    wait_until(
        lambda: platform.metrics().get('tenantry_queue_messages_total{result="dead_lettered"}', 0) >= 1
    )


def test_logs_of_all_processes_are_shown(platform: Platform) -> None:
    platform.deploy("hostile", "noisy")
    for _ in range(8):
        platform.request("noisy.localhost", "/trap")
    wait_until(lambda: platform.run("logs", "tests", "noisy").count("unreachable") == 8)


def test_egress_is_denied_without_a_policy_and_allowed_by_one(platform: Platform) -> None:
    platform.deploy("fetch_proxy", "proxy", namespace="egress")
    url = f"http://api.demo.example:{platform.api_port}/x"
    denied = platform.request("proxy.localhost", f"/?url={url}")
    assert denied.status == 403
    policy = {
        "version": 1,
        "rules": [
            {
                "name": "api",
                "action": "allow",
                "host": "api.demo.example",
                "port": platform.api_port,
                "open_cidrs": ["127.0.0.1/32"],
            }
        ],
    }
    file = platform.data.parent / "egress.json"
    file.write_text(json.dumps(policy))
    platform.run("policy", "set", "egress", str(file))
    allowed = platform.request("proxy.localhost", f"/?url={url}")
    assert (allowed.status, "the upstream" in allowed.body) == (200, True)
    own = platform.request("proxy.localhost", f"/?url=http://127.0.0.1:{platform.control_port}/healthz")
    assert own.status == 403


def test_work_after_the_response_goes_on(platform: Platform) -> None:
    platform.deploy("background", "later", "--kv", "STORE=later-done")
    assert platform.request("later.localhost", "/").status in (200, 202)
    wait_until(lambda: bool(json.loads(platform.run("kv", "list", "later-done", "--json"))))


def test_a_hook_in_python_picks_the_tenant(platform: Platform) -> None:
    platform.deploy("hello_zig", "picked", namespace="hooked")
    platform.run("routes", "add", "hook.localhost", "--hook", "front")
    answer = platform.request("hook.localhost", headers={"X-Tenant": "picked"})
    assert (answer.status, "from Zig" in answer.body) == (200, True)
    assert platform.request("hook.localhost", headers={"X-Tenant": "nobody"}).status == 404
