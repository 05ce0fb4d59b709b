"""What follows from how `tenantry dev` was asked: the worker's name, and where it may connect to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.dev.plan import egress_policy, name_of
from model.identity import parse_script_name
from tests.cli.conftest import Run


@pytest.mark.parametrize(
    ("file", "root", "name"),
    [
        ("/p/shop/src/index.ts", "/p/shop", "shop"),  # says nothing, so the folder's
        ("/p/shop", "/p/shop", "shop"),
        ("/p/shop/worker.js", "/p/shop", "shop"),
        ("/p/shop/prices.wasm", "/p/shop", "prices"),
        ("/p/My Shop (2)", "/p/My Shop (2)", "my-shop-2"),
        ("/p/-x-", "/p/-x-", "x"),
        ("/index.js", "/", "worker"),  # nothing to call it by
        (f"/p/{'a' * 80}", f"/p/{'a' * 80}", "a" * 63),
    ],
)
def test_name_is_one_that_a_script_may_have(file: str, root: str, name: str) -> None:
    assert name_of(Path(file), Path(root)) == name
    parse_script_name(name)


#: What each way of starting it lets out: URL, what DNS says, → without and with --allow-loopback.
EGRESS = [
    ("https://api.example.com/v1", "93.184.216.34", "allow", "allow"),
    ("http://api.example.com:8080/v1", "93.184.216.34", "allow", "allow"),
    ("http://127.0.0.1:3000/", "", "deny", "allow"),
    ("http://[::1]:3000/", "", "deny", "allow"),
    ("http://localhost:3000/", "127.0.0.1", "deny", "allow"),
    ("http://api.localhost:3000/", "127.0.0.1", "deny", "allow"),
    ("http://rebound.example.com/", "127.0.0.1", "deny", "deny"),  # a stranger's name for this machine
    ("http://10.0.0.7/", "", "deny", "deny"),
    ("http://169.254.169.254/latest", "", "deny", "deny"),
]


@pytest.mark.parametrize("allow_loopback", [False, True])
def test_public_addresses_are_reached_and_local_ones_only_when_it_was_said(
    run: Run, tmp_path: Path, allow_loopback: bool
) -> None:
    policy, cases = tmp_path / "policy.yaml", tmp_path / "cases.yaml"
    policy.write_text(egress_policy(allow_loopback=allow_loopback))
    rows = [
        {
            "name": f"case {number}",
            "request": {"url": url},
            **({"dns": [address]} if address else {}),
            "expected": with_it if allow_loopback else without,
        }
        for number, (url, address, without, with_it) in enumerate(EGRESS)
    ]
    cases.write_text(json.dumps({"cases": rows}))
    ended = run("policy", "test", str(policy), str(cases))
    assert ended.code == 0, ended.out + ended.err
