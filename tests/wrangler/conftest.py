"""Stock wrangler, and a host of these tests' own, at whose door stands a dispatch worker that wrangler deployed."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from demo.upstream import start_api, start_dns
from model.identity import DEFAULT_ACCOUNT
from tests.acceptance.platform import SAMPLES, Platform
from tests.support.javascript_engine import built_engine
from tests.wrangler.npm_projects import NpmTools, npm_tools

NAMESPACE = "customers"


@dataclass(frozen=True, slots=True)
class Wrangler:
    tools: NpmTools
    host: Platform
    home: Path

    def __call__(self, folder: Path, *arguments: str, stdin: str = "", expect: int = 0) -> str:
        """Run one command in `folder`: what it printed. It knows the host by these variables alone."""
        environment = self.tools.environment(self.home) | {
            "CLOUDFLARE_API_BASE_URL": f"{self.host.url}/client/v4",
            "CLOUDFLARE_API_TOKEN": self.host.token,
            "CLOUDFLARE_ACCOUNT_ID": DEFAULT_ACCOUNT,
            "WRANGLER_SEND_METRICS": "false",
            "WRANGLER_HIDE_BANNER": "true",
            "FORCE_COLOR": "0",
            "CI": "true",
        }
        program = self.tools.packages / "wrangler" / "bin" / "wrangler.js"
        done = subprocess.run(
            [str(self.tools.node), str(program), *arguments],
            cwd=folder,
            env=environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=250,
        )
        printed = done.stdout + done.stderr
        assert done.returncode == expect, printed
        return printed

    def deploy(self, folder: Path, *arguments: str, expect: int = 0) -> str:
        """As a customer's worker."""
        return self(folder, "deploy", "--dispatch-namespace", NAMESPACE, *arguments, expect=expect)


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    built_engine()
    made = Platform(tmp_path_factory.mktemp("wrangler-host"), start_dns(), start_api())
    try:
        made.start()
        yield made
    finally:
        code = made.stop()
    assert code == 0


@pytest.fixture(scope="session")
def wrangler(host: Platform, tmp_path_factory: pytest.TempPathFactory) -> Wrangler:
    return Wrangler(npm_tools(), host, tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def door(wrangler: Wrangler, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What wrangler printed when it deployed the dispatch worker: NAME.apps.localhost leads to the customer's NAME."""
    folder = tmp_path_factory.mktemp("door")
    shutil.copy(SAMPLES / "dispatcher_js" / "dispatcher_js.js", folder / "index.js")
    wrangler(folder, "dispatch-namespace", "create", NAMESPACE)
    plans = wrangler.host.api(
        "POST", f"/client/v4/accounts/{DEFAULT_ACCOUNT}/storage/kv/namespaces", {"title": "plans"}
    )
    write_config(
        folder,
        name="door",
        main="index.js",
        workers_dev=False,
        routes=[{"pattern": "door.localhost", "custom_domain": True}],
        kv_namespaces=[{"binding": "PLANS", "id": plans[1]["result"]["id"]}],
        dispatch_namespaces=[{"binding": "DISPATCHER", "namespace": NAMESPACE}],
    )
    printed = wrangler(folder, "deploy")
    wrangler.host.run("routes", "add", "*.apps.localhost", "--script", "door")
    return printed


def write_config(folder: Path, **keys: Any) -> None:
    (folder / "wrangler.json").write_text(json.dumps({"compatibility_date": "2026-11-01", **keys}))
