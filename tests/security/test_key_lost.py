"""A careless operator: the root key is lost. No host starts with another one unless it is told to."""

from __future__ import annotations

import pytest

from demo.host import DemoFailed
from demo.upstream import start_api, start_dns
from tests.acceptance.platform import SAMPLES, Platform
from tests.support.waiting import files_below

SECRET = "the-secret-of-acme"


def test_secrets_stay_closed_and_unsaid_when_the_root_key_is_lost(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    host = Platform(tmp_path_factory.mktemp("key"), start_dns(), start_api())
    try:
        host.start()
        wasm = str(SAMPLES / "hello" / "hello.wasm")
        host.run(
            *("deploy", wasm, "--name", "sealed", "--namespace", "tests", "--hostname", "sealed.localhost"),
            *("--secret", "TOKEN"),
            stdin=SECRET + "\n",
        )
        assert host.request("sealed.localhost").status == 200
        assert host.stop() == 0
        assert "root key" not in host.log()
        (host.data / "root-key").unlink()
        with pytest.raises(DemoFailed, match=r"the root key .*/root-key is not there"):
            host.start()
        assert "--new-root-key" in host.log()
        assert not (host.data / "root-key").exists()
        host.start("--new-root-key")
        assert "a new root key is made" in host.log()
        # Images were authenticated under the old key: they are made again, and the worker answers.
        assert host.request("sealed.localhost").status == 200
        assert SECRET not in host.log()
        assert not [path for path, content in files_below(host.data) if SECRET.encode() in content]
    finally:
        host.stop()
