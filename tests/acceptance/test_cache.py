"""What a worker keeps in its cache is there for every process of the host, and for no other tenant."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from tests.acceptance.platform import Platform, wait_until


def test_a_page_is_made_once_for_all_processes(platform: Platform) -> None:
    assert len(platform.workers()) > 1
    for name, tenant in (("cached", "acme"), ("cached-too", "acme"), ("cached-other", "rival")):
        tenants = ("--tenant", tenant)
        platform.deploy("cached", name, *tenants, "--cache", "CACHE=pages", "--kv", f"MADE=made-{tenant}")
    # A new connection each, so that each process answers some.
    assert {platform.request("cached.localhost", "/a").body for _ in range(20)} == {"page 1\n"}
    assert platform.request("cached.localhost", "/b").body == "page 2\n"
    assert platform.request("cached-other.localhost", "/a").body == "page 1\n"
    assert platform.request("cached-too.localhost", "/a").body == "page 3\n"  # another host, another URL


def test_what_a_deleted_tenant_kept_is_gone_with_it_and_the_others_keep_theirs(platform: Platform) -> None:
    for tenant in ("leaver", "stayer"):
        arguments = ("--tenant", tenant, "--cache", "CACHE=pages", "--kv", f"MADE=made-{tenant}")
        platform.deploy("cached", f"cached-{tenant}", *arguments, namespace="cached")
        assert platform.request(f"cached-{tenant}.localhost", "/a").body == "page 1\n"
        wait_until(lambda: entries(platform, f"cached/{tenant}") == 1)  # noqa: B023 - it waits here
    platform.run("tenants", "delete", "cached", "leaver", "--force")
    assert entries(platform, "cached/leaver") == 0
    assert entries(platform, "cached/stayer") == 1
    assert platform.request("cached-stayer.localhost", "/a").body == "page 1\n"
    # What comes too late for the deletion, or is another machine's, the host forgets by itself; first when it starts.
    with closing(sqlite3.connect(platform.data / "cache.db", timeout=30)) as file, file:
        file.execute("UPDATE cache_totals SET owner = 'nowhere/stayer' WHERE owner = 'cached/stayer'")
        file.execute("UPDATE cache_entries SET owner = 'nowhere/stayer' WHERE owner = 'cached/stayer'")
    platform.kill_control()
    wait_until(lambda: entries(platform, "nowhere/stayer") == 0)
    assert "nowhere/stayer" not in platform.run("fsck", "--data", str(platform.data))


def entries(platform: Platform, owner: str) -> int:
    with closing(sqlite3.connect(platform.data / "cache.db", timeout=30)) as file:
        return int(file.execute("SELECT count(*) FROM cache_entries WHERE owner = ?", (owner,)).fetchone()[0])
